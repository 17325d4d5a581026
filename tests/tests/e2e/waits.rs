//! Waits for a moment: a row, and nothing else until it has come.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

const TEXT: &str = "name: Soak
version: '1'
description: Waits between two calls.
steps:
  - {id: before, type: agent_call, agent: writer, resource_lock: shared, on_success: soak}
  - {id: soak, type: wait, until: '{{ context.until }}', on_success: after}
  - {id: after, type: agent_call, agent: writer, resource_lock: shared, on_success: workflow_complete}
";

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

async fn timers(world: &World) -> Vec<(String, i32)> {
    sqlx::query_as("select step_path, visit from timers").fetch_all(&world.pool).await.unwrap()
}

/// What `shift` from now is, on the clock of the database.
async fn moment(world: &World, shift: &str) -> String {
    sqlx::query_scalar("select to_char((now() + $1::interval) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        .bind(shift)
        .fetch_one(&world.pool)
        .await
        .unwrap()
}

#[test]
fn a_wait_outlives_every_coordinator() {
    run(async {
        let agents = Agents::agreeable().await;
        let yaml = agents.yaml(&[("writer", true)]);
        let mut world =
            World::builder().template("soak", TEXT).agents(&yaml).coordinators(2).start().await;
        let until = moment(&world, "3 seconds").await;
        let id = world.execute("soak", json!({"until": until})).await;
        let at_rest = loop {
            let state = world.status(&id).await;
            if state["current_step"] == "soak" {
                break state;
            }
            tokio::time::sleep(PAUSE).await;
        };
        assert_eq!(at_rest["status"], "running");
        assert_eq!(at_rest["waiting_until"], json!(until));
        assert_eq!(at_rest["locks"], json!(["shared"]), "kept for the step after it");
        assert_eq!(timers(&world).await, [("soak".to_owned(), 1)]);
        let attempts: i64 =
            sqlx::query_scalar("select count(*) from attempts where workflow_id = $1")
                .bind(&id)
                .fetch_one(&world.pool)
                .await
                .unwrap();
        assert_eq!(attempts, 0, "a wait is no attempt, and no message");

        world.stop_coordinators().await;
        assert_eq!(timers(&world).await.len(), 1);
        world.start_coordinator().await;
        let done = world.wait_for(&id, "completed").await;
        assert_eq!(done["outputs"]["soak"], json!({"until": until}));
        assert_eq!(done.get("waiting_until"), None);
        assert!(timers(&world).await.is_empty());
        let events = world.events(&id).await;
        let woken = events
            .as_array()
            .unwrap()
            .iter()
            .find(|event| event["action"] == "complete_step" && event["step_id"] == "soak");
        let woken: &Value = &woken.unwrap()["timestamp"];
        assert!(woken.as_str().unwrap() >= until.as_str(), "{woken} is before {until}");
        assert_eq!(agents.calls().len(), 2);
        world.stop().await;
    });
}

#[test]
fn a_run_that_waits_is_left_alone_and_one_whose_timer_is_lost_is_repaired() {
    run(async {
        let agents = Agents::agreeable().await;
        let yaml = agents.yaml(&[("writer", true)]);
        let text = TEXT.replace("resource_lock: shared, ", "");
        let world = World::builder().template("soak", &text).agents(&yaml).start().await;
        let until = moment(&world, "40 days").await;
        let waits = world.execute("soak", json!({"until": until})).await;
        let loses = world.execute("soak", json!({"until": until})).await;
        while timers(&world).await.len() < 2 {
            tokio::time::sleep(PAUSE).await;
        }
        let before = world.actions(&waits).await;
        // As if both had been still for long, and one had lost what it waits for.
        let mut connection = world.pool.acquire().await.unwrap();
        for (statement, id) in [
            ("delete from timers where workflow_id = $1", &loses),
            (
                "update runs set updated_at = now() - interval '1 hour' where workflow_id = $1",
                &waits,
            ),
            (
                "update runs set updated_at = now() - interval '1 hour' where workflow_id = $1",
                &loses,
            ),
        ] {
            sqlx::query(statement).bind(id).execute(&mut *connection).await.unwrap();
        }
        while timers(&world).await.len() < 2 {
            tokio::time::sleep(PAUSE).await;
        }
        assert_eq!(world.actions(&waits).await, before);
        let metrics = world.http.get(format!("{}/metrics", world.url)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains("\nsluice_runs_repaired_total 1\n"), "{metrics}");
        // A small table is read whole; what matters is that the index can serve the sweep.
        sqlx::query("set enable_seqscan = off").execute(&mut *connection).await.unwrap();
        let query = "explain (format json) select workflow_id, step_path, visit from timers
                     where due_at <= now() order by due_at limit 1000";
        let plan: Value = sqlx::query_scalar(query).fetch_one(&mut *connection).await.unwrap();
        assert!(plan.to_string().contains("timers_due"), "{plan}");
        drop(connection);
        world.stop().await;
    });
}
