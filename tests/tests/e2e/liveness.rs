//! The watchdog: no run waits for nothing.

use std::time::{Duration, Instant};

use serde_json::json;
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};

const ONE_STEP: &str = r#"
name: One step
version: "1.0"
description: Enough to be stranded.
steps:
  - {id: only, type: agent_call, agent: helper, on_success: workflow_complete}
"#;

#[test]
fn a_run_that_waits_for_nothing_is_found_and_repaired() {
    run(async {
        let agents = Agents::agreeable().await;
        let yaml = agents.yaml(&[("helper", false)]);
        let mut world =
            World::builder().template("one", ONE_STEP).agents(&yaml).workers(0).start().await;
        let id = world.execute("one", json!({})).await;
        // What no crash of ours can do: the row of the only attempt is gone, and its message with it.
        let until = Instant::now() + PATIENCE;
        let delete = "delete from attempts where workflow_id = $1 and stream_sequence is not null";
        while sqlx::query(delete).bind(&id).execute(&world.pool).await.unwrap().rows_affected() == 0
        {
            assert!(Instant::now() < until, "the attempt was never published");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.start_worker().await;
        world.wait_for(&id, "completed").await;
        let metrics = world.http.get(format!("{}/metrics", world.url)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains("\nsluice_runs_repaired_total 1\n"), "{metrics}");
        world.stop().await;
    });
}
