//! An operator holds a run up.

use serde_json::json;
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};

const TWO: &str = r#"
name: Two
version: "1.0"
description: Two steps, then a person.
steps:
  - {id: first, type: agent_call, agent: helper, resource_lock: prod, on_success: second}
  - {id: second, type: agent_call, agent: helper, resource_lock: prod, on_success: ask}
  - {id: ask, type: hitl_approval, risk_assessment: {risk_level: high}, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;

#[test]
fn results_in_flight_are_recorded_and_nothing_new_is_dispatched() {
    run(async {
        let agents = Agents::agreeable().await;
        let yaml = agents.yaml(&[("helper", false)]);
        let world = World::builder().template("two", TWO).agents(&yaml).start().await;
        agents.hold("first");
        let id = world.execute("two", json!({})).await;
        agents.called("first", 1).await;
        let body = json!({"reason": "the provider has trouble", "paused_by": "ops"});
        let (status, answer) = world.post(&format!("/workflow/{id}/pause"), &body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(
            (&answer["status"], &answer["suspended"]["paused_by"]),
            (&json!("paused"), &json!("ops"))
        );
        let (status, answer) = world.post(&format!("/workflow/{id}/pause"), &body).await;
        assert_eq!((status, &answer["code"]), (400, &json!("not_pausable")));
        let (status, answer) = world.resume(&id, json!({"approval_decision": "approved"})).await;
        assert_eq!((status, &answer["code"]), (400, &json!("not_paused")));
        assert!(answer["detail"].as_str().unwrap().contains("unpause"), "{answer}");

        agents.release("first");
        let until = std::time::Instant::now() + PATIENCE;
        while world.status(&id).await["outputs"]["first"].is_null() {
            assert!(std::time::Instant::now() < until, "the result in flight was not recorded");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let (attempts,): (i64,) =
            sqlx::query_as("select count(*) from attempts where workflow_id = $1")
                .bind(&id)
                .fetch_one(&world.pool)
                .await
                .unwrap();
        assert_eq!(attempts, 0, "nothing is to be dispatched");
        let state = world.status(&id).await;
        assert_eq!((&state["status"], &state["locks"]), (&json!("paused"), &json!(["prod"])));
        assert_eq!(agents.calls().len(), 1);

        let unpause = format!("/workflow/{id}/unpause");
        assert_eq!(world.post(&unpause, &json!({"unpaused_by": "ops"})).await.0, 200);
        agents.called("second", 1).await;
        let until = std::time::Instant::now() + PATIENCE;
        while world.status(&id).await["pending_approval"].is_null() {
            assert!(std::time::Instant::now() < until, "it does not go on");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        // It waits for a person now, and no operator can decide for them.
        let (status, answer) = world.post(&unpause, &json!({})).await;
        assert_eq!((status, &answer["code"]), (400, &json!("not_paused")));
        assert_eq!(world.resume(&id, json!({"approval_decision": "approved"})).await.0, 200);
        world.wait_for(&id, "completed").await;
        let none = world.post("/workflow/two-0000000000000000/pause", &json!({})).await;
        assert_eq!(none.0, 404);
        world.stop().await;
    });
}
