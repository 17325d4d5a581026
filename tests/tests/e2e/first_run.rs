//! The first run: three steps, a gate, a lock and an approval, from HTTP to the end.

use serde_json::json;
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

const TEMPLATE: &str = r#"
name: First run
version: "1.0"
description: Review, ask, deploy.
steps:
  - id: review
    type: agent_call
    agent: code-review
    payload:
      branch: "{{ context.branch }}"
    decision_gate:
      type: llm_assessment
      prompt: "Is a score of {{ outputs.review.score }} enough?"
      rules:
        - when: outputs.review.score >= 80
          answer: {decision: proceed}
      on_proceed: approve
      on_block: notify_failure
  - id: approve
    type: hitl_approval
    risk_assessment:
      type: override
      risk_level: medium
      approver_role: tech_lead
    approval_payload:
      branch: "{{ context.branch }}"
    on_approved: deploy
    on_rejected: notify_failure
  - id: deploy
    type: agent_call
    agent: cicd
    resource_lock: "deployment:{{ context.environment }}"
    payload:
      score: "{{ outputs.review.score }}"
    on_success: workflow_complete
notifications:
  - trigger: workflow_complete
    channels: [log]
    template: deployment_success
"#;

#[test]
fn a_run_goes_from_http_to_its_end() {
    run(async {
        let agents = Agents::start(|call| match call.agent.as_str() {
            "code-review" => (200, json!({"score": 92})),
            _ => (200, json!({"url": "http://127.0.0.1/x"})),
        })
        .await;
        let world = World::builder()
            .template("first", TEMPLATE)
            .agents(&agents.yaml(&[("code-review", false), ("cicd", true)]))
            .start()
            .await;
        let id = world.execute("first", json!({"branch": "b", "environment": "staging"})).await;
        let paused = world.wait_for(&id, "paused").await;
        assert_eq!(paused["current_step"], "approve");
        assert_eq!(paused["pending_approval"]["approver_role"], "tech_lead");
        let (status, body) = world.resume(&id, json!({"approval_decision": "approved"})).await;
        assert_eq!(status, 200, "{body}");
        let done = world.wait_for(&id, "completed").await;
        assert_eq!(done["outputs"]["deploy"]["url"], "http://127.0.0.1/x");
        let calls = agents.calls();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[1].command["payload"]["score"], 92, "a number stays a number");
        assert_eq!(calls[1].idempotency_key, format!("{id}/deploy/1"));
        let traces: Vec<&str> = calls.iter().map(|call| &call.traceparent[..35]).collect();
        assert!(traces[0].starts_with("00-") && traces.iter().all(|trace| *trace == traces[0]));
        let actions = world.actions(&id).await;
        assert_eq!(
            actions
                .iter()
                .map(String::as_str)
                // How far the messages are decides when there are ten events.
                .filter(|a| !a.starts_with("notify") && *a != "create_snapshot")
                .collect::<Vec<_>>(),
            [
                "start_workflow:review",
                "complete_step:review",
                "pause_workflow:approve",
                "approve_gate:approve",
                "resume_workflow:approve",
                "acquire_lock:deploy",
                "complete_step:deploy",
                "release_lock:deploy",
                "complete_workflow",
            ]
        );
        world.stop().await;
    });
}
