//! A run with everything in its record that an auditor may ask about: a retry, an approval, a wait for a lock,
//! a failure, a rollback and an annotation.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sluice_tests::World;
use sluice_tests::agents::Agents;

const RICH: &str = r#"
name: Rich
version: "1.0"
description: Has everything in its record.
steps:
  - {id: review, type: agent_call, agent: helper, on_success: gate}
  - {id: gate, type: hitl_approval, risk_assessment: {type: override, risk_level: high, approver_role: tech_lead}, on_approved: deploy, on_rejected: workflow_failed}
  - {id: deploy, type: agent_call, agent: helper, resource_lock: "deployment:x", on_success: workflow_complete, on_failure: rollback_deploy}
  - {id: rollback_deploy, type: agent_call, agent: helper, payload: {action: rollback}, resource_lock: "deployment:x", on_success: workflow_failed}
error_handling:
  - {step: review, max_retries: 1}
  - {step: deploy, max_retries: 0}
"#;
const HOLDER: &str = r#"
name: Holder
version: "1.0"
description: Holds the lock meanwhile.
steps:
  - {id: hold, type: agent_call, agent: helper, resource_lock: "deployment:x"}
"#;

pub(crate) struct Rich {
    pub(crate) world: World,
    pub(crate) agents: Agents,
    pub(crate) id: String,
}

/// The run when it has ended.
pub(crate) async fn ended() -> Rich {
    let failed_once = AtomicBool::new(false);
    let agents = Agents::start(move |call| match call.step() {
        "review" if !failed_once.swap(true, Ordering::SeqCst) => {
            (503, json!({"error": {"message": "busy", "retryable": true}}))
        }
        "deploy" => (400, json!({"error": {"message": "no capacity"}})),
        _ => (200, json!({"score": 91.5, "text": "é\u{1F600}", "list": [1, {"deep": null}]})),
    })
    .await;
    let yaml = agents.yaml(&[("helper", false)]);
    let world = World::builder()
        .template("rich", RICH)
        .template("holder", HOLDER)
        .agents(&yaml)
        .start()
        .await;
    agents.hold("hold");
    let holder = world.execute("holder", json!({})).await;
    agents.called("hold", 1).await;
    let id = world.execute("rich", json!({"pr_number": 7, "half": 0.1, "note": "=cmd"})).await;
    world.wait_for(&id, "paused").await;
    let decision = json!({"approval_decision": "approved", "approver": "ada", "approver_role": "tech_lead",
        "comment": "looks \"good\"", "justification": "tests passed"});
    assert_eq!(world.resume(&id, decision).await.0, 200);
    while world.status(&id).await["waiting_for_lock"] != "deployment:x" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    agents.release("hold");
    world.wait_for(&holder, "completed").await;
    world.wait_for(&id, "rolled_back").await;
    let actions = world.actions(&id).await;
    for action in ["retry_step", "approve_gate", "wait_lock", "rollback_step", "release_lock"] {
        assert!(actions.iter().any(|found| found.starts_with(action)), "{action}: {actions:?}");
    }
    Rich { world, agents, id }
}

impl Rich {
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.world.get(&format!("/workflow/{}/{path}", self.id)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.world.post(&format!("/workflow/{}/{path}", self.id), &body).await
    }

    /// The answer to a GET that must succeed.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let (status, answer) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) async fn annotate(&self, comment: &str) -> Value {
        let (status, answer) = self
            .post("annotate", json!({"operator": "alice@example.com", "comment": comment}))
            .await;
        assert_eq!(status, 200, "{answer}");
        answer["annotation"].clone()
    }
}
