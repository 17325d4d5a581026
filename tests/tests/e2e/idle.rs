//! What a run costs that waits for a person: nothing but its rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};

const PAUSED: usize = 1_000;
/// Requests under way at once.
const AT_ONCE: usize = 50;
/// More than twenty sweeps, and one round of the watchdog.
const WINDOW: Duration = Duration::from_secs(11);

const WAITS: &str = r#"
name: Waits
version: "1.0"
description: Waits for a person at once.
steps:
  - {id: approve, type: hitl_approval, risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;

/// What happens in a window in which nobody asks for anything.
#[derive(Clone, Copy, Debug)]
struct Cost {
    transactions: u64,
    messages: u64,
}

/// Counts messages on subjects of this world, and requests to JetStream about its streams.
async fn count_messages(world: &World) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let mut messages = world.bus.subscribe(">").await.unwrap();
    let (counter, name) = (Arc::clone(&count), world.name.clone());
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            if message.subject.to_ascii_lowercase().contains(&name) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    count
}

async fn transactions(world: &World) -> u64 {
    let count: i64 = sqlx::query_scalar(
        "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()",
    )
    .fetch_one(&world.pool)
    .await
    .unwrap();
    count.try_into().unwrap()
}

async fn cost(world: &World, messages: &AtomicU64) -> Cost {
    // What was done before is counted a second later.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = (transactions(world).await, messages.load(Ordering::Relaxed));
    tokio::time::sleep(WINDOW).await;
    let after = (transactions(world).await, messages.load(Ordering::Relaxed));
    Cost { transactions: after.0 - before.0, messages: after.1 - before.1 }
}

async fn count(world: &World, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(&world.pool).await.unwrap()
}

/// Starts the runs and waits until nothing is left to do for them.
async fn pause_runs(world: &World) {
    let starts = (0..PAUSED).map(|_| world.execute("waits", json!({})));
    futures::stream::iter(starts).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    let until = Instant::now() + PATIENCE * 4;
    let left = "select (select count(*) from attempts) + (select count(*) from runs where status <> 'paused')";
    while count(world, left).await > 0 {
        assert!(Instant::now() < until, "announcements that never end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn cached_states(world: &World) -> u64 {
    let metrics = world.http.get(format!("{}/metrics", world.url)).send().await.unwrap();
    let text = metrics.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("sluice_cached_states "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
#[expect(clippy::print_stdout, reason = "shows its numbers when asked")]
fn a_thousand_runs_that_wait_for_people_cost_nothing() {
    run(async {
        let agents = Agents::agreeable().await;
        let yaml = agents.yaml(&[("reader", false)]);
        let mut world = World::builder().template("waits", WAITS).agents(&yaml).start().await;
        let messages = count_messages(&world).await;
        let without = cost(&world, &messages).await;
        pause_runs(&world).await;
        // A coordinator that was not there when they paused keeps nothing of them.
        world.stop_coordinators().await;
        world.start_coordinator().await;
        let with = cost(&world, &messages).await;
        println!("in {WINDOW:?} without runs {without:?}, with {PAUSED} paused ones {with:?}");
        assert!(without.transactions > 20 && without.messages > 20, "{without:?} measures nothing");
        // Sweeps do not come to the tick; one statement or message a run would be a thousand more.
        let most = |n: u64| n + n / 4 + 20;
        assert!(with.transactions <= most(without.transactions), "{without:?} {with:?}");
        assert!(with.messages <= most(without.messages), "{without:?} {with:?}");
        assert_eq!(cached_states(&world).await, 0);
        assert_eq!(
            count(&world, "select count(*) from runs where status = 'paused'").await,
            PAUSED as i64
        );
        world.stop().await;
    });
}
