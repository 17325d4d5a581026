//! A list of runs that is longer than a message.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

/// With messages of 4,000 characters far more than one NATS message carries.
const RUNS: i64 = 3_000;

async fn ids(world: &World, query: &str) -> Vec<String> {
    let (code, list) = world.get(&format!("/workflows{query}")).await;
    assert_eq!(code, 200, "{list}");
    let runs: Vec<&Value> = list.as_array().unwrap().iter().collect();
    let starts: Vec<&str> = runs.iter().map(|run| run["started_at"].as_str().unwrap()).collect();
    assert!(starts.is_sorted_by(|a, b| a >= b), "newest first");
    runs.iter().map(|run| run["workflow_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_list_that_is_longer_than_a_message_comes_whole() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = World::builder().agents(&agents.yaml(&[("reader", false)])).start().await;
        // Open runs without anything to do, as only the list sees them.
        sqlx::query(
            "insert into runs (workflow_id, started_month, template_name, template_sha256, status, sequence,
                               last_hash, started_at, updated_at, error_message)
             select 'run-' || n, date_trunc('month', now()), 'x.workflow.yaml', repeat('0', 64), 'running', 1,
                    decode(repeat('00', 32), 'hex'), now() - make_interval(secs => n / 2), now() + interval '1 day',
                    repeat('x', 4000)
               from generate_series(1, $1) n",
        )
        .bind(RUNS)
        .execute(&world.pool)
        .await
        .unwrap();
        let max_payload = world.bus.max_payload();
        assert!(max_payload < 4_000 * 2_900, "one message would do: {max_payload}");
        let all = ids(&world, "").await;
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!((all.len() as i64, distinct.len() as i64), (RUNS, RUNS));
        assert_eq!(ids(&world, "?limit=2900").await, all[..2_900]);
        assert_eq!(ids(&world, "?limit=2500&offset=300").await, all[300..2_800]);
        // Over NATS the pages are asked for one by one.
        let wait = std::time::Duration::from_secs(10);
        let first = world.bus.api("workflow.list", &json!({}), None, wait).await.unwrap();
        let first: Value = serde_json::from_slice(&first).unwrap();
        let taken = first["workflows"].as_array().unwrap().len();
        let again = json!({"after": first["next"]});
        let second = world.bus.api("workflow.list", &again, None, wait).await.unwrap();
        let second: Value = serde_json::from_slice(&second).unwrap();
        assert_eq!(second["workflows"][0]["workflow_id"], json!(all[taken]));
        sqlx::query("delete from runs").execute(&world.pool).await.unwrap();
        world.stop().await;
    });
}
