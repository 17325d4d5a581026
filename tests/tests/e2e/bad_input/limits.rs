//! Waits that a template ends: for a lock, for a worker.

use serde_json::json;
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

use super::{GOOD, assert_alive};

const UNTAKEN: &str = r#"
name: Untaken
version: "1.0"
description: Nobody runs its agent.
steps:
  - {id: call, type: agent_call, agent: elsewhere, queue_timeout: 300ms, on_success: workflow_complete}
error_recovery: {max_retries: 0}
"#;

/// The lock is taken by a person's step as well as by an agent's.
fn locked(name: &str, step: &str) -> String {
    format!(
        "name: {name}\nversion: '1.0'\ndescription: Waits for a lock.\nsteps:\n\
         - {{id: wait, resource_lock: the-lock, lock_wait: 300ms, {step}}}\n\
         - {{id: after, type: agent_call, agent: good, on_success: workflow_complete}}\n\
         error_recovery: {{max_retries: 0}}\n"
    )
}

const HOLDER: &str = r#"
name: Holder
version: "1.0"
description: Holds the lock until somebody decides.
steps:
  - {id: hold, type: hitl_approval, resource_lock: the-lock, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;

#[test]
fn a_command_that_nobody_takes_fails_in_time() {
    run(async {
        let agents = Agents::agreeable().await;
        let yaml = agents.yaml(&[("good", false)]) + "  elsewhere: {runtime: external}\n";
        let world = World::builder().template("good", GOOD).template("untaken", UNTAKEN);
        let world = world.agents(&yaml).start().await;
        let id = world.execute("untaken", json!({})).await;
        let state = world.wait_for(&id, "failed").await;
        assert_eq!(state["failure_reason"], "queue_timeout", "{}", state["error_message"]);
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn a_wait_for_a_lock_ends_when_the_template_says_so() {
    run(async {
        let agents = Agents::agreeable().await;
        let steps = [
            ("by-agent", "type: agent_call, agent: good, on_success: after"),
            (
                "by-condition",
                "type: conditional, condition: 'true', on_true: after, on_false: after",
            ),
            ("by-person", "type: hitl_approval, on_approved: after, on_rejected: notify_failure"),
        ];
        // A message that cannot be sent is recorded and changes nothing.
        let message =
            locked("by-message", "type: notification, channels: [log], on_complete: after");
        let templates = steps.map(|(name, step)| (name, locked(name, step)));
        let world = templates
            .iter()
            .fold(World::builder(), |world, (name, text)| world.template(name, text));
        let world = world
            .template("good", GOOD)
            .template("holder", HOLDER)
            .template("by-message", &message);
        let world = world.agents(&agents.yaml(&[("good", false)])).start().await;
        let holder = world.execute("holder", json!({})).await;
        world.wait_for(&holder, "paused").await;
        let unsent = world.execute("by-message", json!({})).await;
        let started = steps.map(|(name, _)| {
            let world = &world;
            async move { (name, world.execute(name, json!({})).await) }
        });
        for (name, id) in futures::future::join_all(started).await {
            let state = world.wait_for(&id, "failed").await;
            assert_eq!(
                state["failure_reason"], "lock_timeout",
                "{name}: {}",
                state["error_message"]
            );
            assert_eq!(state["failed_step"], "wait", "{name}");
            assert_eq!(state["waiting_for_lock"], json!(null), "{name}");
        }
        let called = agents.calls().into_iter().map(|call| call.command["workflow_id"].clone());
        assert!(called.into_iter().all(|id| id == *unsent), "nothing runs without its lock");
        let state = world.wait_for(&unsent, "completed").await;
        assert_eq!(state["outputs"]["wait"]["status"], "failed");
        assert_eq!(world.status(&holder).await["locks"], json!(["the-lock"]));
        assert_eq!(world.resume(&holder, json!({"approval_decision": "approved"})).await.0, 200);
        world.wait_for(&holder, "completed").await;
        let id = world.execute("by-agent", json!({})).await;
        world.wait_for(&id, "completed").await;
        assert_alive(&world).await;
        world.stop().await;
    });
}
