//! A run is ended from outside.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};

const LOCKED: &str = r#"
name: Locked
version: "1.0"
description: Deploys under a lock, and takes it back when it is cancelled.
on_cancel: undo
steps:
  - {id: deploy, type: agent_call, agent: cicd, resource_lock: "deployment:production", on_success: approve}
  - id: approve
    type: hitl_approval
    risk_assessment: {risk_level: high}
    on_approved: finish
    on_rejected: notify_failure
  - {id: finish, type: agent_call, agent: cicd, resource_lock: "deployment:production"}
  - {id: undo, type: agent_call, agent: cicd, payload: {action: rollback}, on_success: notify_rollback}
notifications:
  - {trigger: workflow_failed, channels: [log]}
"#;

const PLAIN: &str = r#"
name: Plain
version: "1.0"
description: Works under the same lock.
steps:
  - {id: work, type: agent_call, agent: cicd, resource_lock: "deployment:production"}
"#;

async fn world(agents: &Agents) -> World {
    let yaml = agents.yaml(&[("cicd", true)]);
    let world = World::builder().template("locked", LOCKED).template("plain", PLAIN);
    world.agents(&yaml).coordinators(2).start().await
}

#[test]
fn an_agent_at_work_is_told_and_the_lock_goes_to_the_next() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        agents.hold("work");
        let first = world.execute("plain", json!({})).await;
        agents.called("work", 1).await;
        let second = world.execute("plain", json!({})).await;
        while world.status(&second).await["waiting_for_lock"] != "deployment:production" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let path = format!("/workflow/{first}?reason=Emergency%20fix&cancelled_by=ops@example.com");
        let (status, answer) = world.delete(&path).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(
            answer,
            json!({
                "workflow_id": first,
                "status": "cancelled",
                "reason": "Emergency fix",
                "cancelled_by": "ops@example.com",
                "cleanup": {
                    "locks_released": 1,
                    "linear_issues_closed": 0,
                    "agents_notified": 1,
                    "child_workflows_cancelled": 0,
                    "approvals_cancelled": 0,
                    "errors": [],
                },
            })
        );
        // The call of the agent is broken off, and the next run has the lock.
        agents.called("work", 2).await;
        let until = Instant::now() + PATIENCE;
        while agents.abandoned().is_empty() {
            assert!(Instant::now() < until, "the agent was not told to stop");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let state = world.status(&first).await;
        assert_eq!(state["status"], "cancelled");
        assert_eq!(state["cancelled_by"], "ops@example.com");
        assert_eq!(state["step_statuses"]["work"], "failed");
        agents.release("work");
        world.wait_for(&second, "completed").await;
        assert_eq!(world.status(&first).await["status"], "cancelled");
        let actions = world.actions(&first).await;
        let ending = &actions[actions.len() - 3..];
        assert_eq!(ending, ["cancel_workflow:work", "release_lock:work", "complete_workflow"]);
        let (status, answer) = world.delete(&format!("/workflow/{first}")).await;
        assert_eq!((status, &answer["code"]), (400, &json!("not_cancellable")));
        let (status, _) = world.delete("/workflow/plain-0000000000000000").await;
        assert_eq!(status, 404);
        world.stop().await;
    });
}

#[test]
fn what_was_done_is_undone_first_and_the_approval_is_closed() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        let id = world.execute("locked", json!({})).await;
        world.wait_for(&id, "paused").await;
        agents.hold("undo");
        let (status, answer) = world.delete(&format!("/workflow/{id}?reason=stop")).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!((&answer["status"], &answer["on_cancel"]), (&json!("running"), &json!("undo")));
        assert_eq!(answer["cleanup"]["approvals_cancelled"], 1);
        assert_eq!(answer["cleanup"]["locks_released"], 0);
        assert_eq!(world.resume(&id, json!({"approval_decision": "approved"})).await.0, 400);
        agents.called("undo", 1).await;
        // Still under the lock, and not broken off by an impatient second request.
        assert_eq!(world.status(&id).await["locks"], json!(["deployment:production"]));
        assert_eq!(world.delete(&format!("/workflow/{id}")).await.0, 400);
        agents.release("undo");
        let state = world.wait_for(&id, "cancelled").await;
        assert_eq!(state["cancellation_reason"], "stop");
        assert_eq!(agents.abandoned(), [""; 0]);
        let (status,): (String,) =
            sqlx::query_as("select status from approvals where workflow_id = $1")
                .bind(&id)
                .fetch_one(&world.pool)
                .await
                .unwrap();
        assert_eq!(status, "cancelled");
        let notified: Vec<String> =
            world.actions(&id).await.into_iter().filter(|a| a.starts_with("notify")).collect();
        assert!(notified.iter().all(|a| !a.contains("complete")), "{notified:?}");
        world.stop().await;
    });
}

#[test]
fn a_command_cancels_too_and_a_repeated_request_is_one() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        let id = world.execute("locked", json!({})).await;
        world.wait_for(&id, "paused").await;
        let subject = world.bus.subjects().command("workflow.cancel");
        let body = json!({"workflow_id": id, "force": true, "request_id": "c1"}).to_string();
        world.bus.publish(subject.clone(), body.clone()).await.unwrap();
        world.wait_for(&id, "cancelled").await;
        world.bus.publish(subject, body).await.unwrap();
        let answer: Value = {
            let body = json!({"workflow_id": id, "force": true, "request_id": "c1"});
            let bus = world.connect("cli").await;
            let answer = bus.api("workflow.cancel", &body, None, PATIENCE).await.unwrap();
            serde_json::from_slice(&answer).unwrap()
        };
        assert_eq!(answer["status"], "cancelled");
        assert_eq!(world.actions(&id).await.iter().filter(|a| a.starts_with("cancel")).count(), 1);
        world.stop().await;
    });
}
