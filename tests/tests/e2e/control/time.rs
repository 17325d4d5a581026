//! Runs that take too long.

use serde_json::json;
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

const SHORT: &str = r#"
name: Short
version: "1.0"
description: Must be over in a second.
deadline: 1s
steps:
  - {id: ask, type: hitl_approval, resource_lock: prod, risk_assessment: {risk_level: high}, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;

const LONELY: &str = r#"
name: Lonely
version: "1.0"
description: Waits for a worker that never comes.
steps:
  - {id: work, type: agent_call, agent: nobody}
"#;

const QUEUED: &str = r#"
name: Queued
version: "1.0"
description: Waits behind somebody who decides.
steps:
  - {id: work, type: agent_call, agent: nobody, resource_lock: busy}
"#;

const HOLDER: &str = r#"
name: Holder
version: "1.0"
description: Holds a lock while a person thinks.
steps:
  - {id: ask, type: hitl_approval, resource_lock: busy, risk_assessment: {risk_level: high}, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;

#[test]
fn a_deadline_ends_a_run_and_gives_its_lock_away() {
    run(async {
        let world = World::builder().template("short", SHORT).start().await;
        let id = world.execute("short", json!({})).await;
        assert!(world.status(&id).await["deadline_at"].is_string());
        let state = world.wait_for(&id, "failed").await;
        assert_eq!(state["failure_reason"], "deadline_exceeded");
        assert_eq!(state["locks"], json!([]));
        let status: (String,) =
            sqlx::query_as("select status from approvals where workflow_id = $1")
                .bind(&id)
                .fetch_one(&world.pool)
                .await
                .unwrap();
        assert_eq!(status.0, "expired");
        let (timers,): (i64,) =
            sqlx::query_as("select count(*) from timers").fetch_one(&world.pool).await.unwrap();
        assert_eq!(timers, 0);
        world.stop().await;
    });
}

#[test]
fn an_abandoned_run_is_marked_and_one_that_waits_for_somebody_is_not() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = World::builder()
            .template("lonely", LONELY)
            .template("queued", QUEUED)
            .template("holder", HOLDER)
            .agents(&agents.yaml(&[("helper", false)]))
            .workflow_ttl_ms(1_000)
            .start()
            .await;
        let holder = world.execute("holder", json!({})).await;
        world.wait_for(&holder, "paused").await;
        let queued = world.execute("queued", json!({})).await;
        let lonely = world.execute("lonely", json!({})).await;
        let state = world.wait_for(&lonely, "failed").await;
        assert_eq!(state["failure_reason"], "expired");
        assert_eq!(world.actions(&lonely).await[0], "start_workflow:work", "nothing is deleted");
        assert_eq!(world.status(&holder).await["status"], "paused");
        let state = world.status(&queued).await;
        assert_eq!(
            (&state["status"], &state["waiting_for_lock"]),
            (&json!("running"), &json!("busy"))
        );
        for id in [queued, holder] {
            assert_eq!(world.delete(&format!("/workflow/{id}")).await.0, 200);
        }
        world.stop().await;
    });
}
