//! What a run costs that waits for a person, be it for a month: nothing but its rows.

mod month;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use serde_json::json;
use sluice_proto::timestamp::Timestamp;
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};

const PAUSED: usize = 1_000;
/// Requests under way at once.
const AT_ONCE: usize = 50;
/// More than twenty sweeps, and one round of the watchdog.
const WINDOW: Duration = Duration::from_secs(11);
/// Windows that are tried.
const WINDOWS: usize = 6;

const WAITS: &str = r#"
name: Waits
version: "1.0"
description: Waits for a person at once.
steps:
  - {id: approve, type: hitl_approval, risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;

/// The same under a lock, in a run that has to be over some day.
const HOLDS: &str = r#"
name: Holds
version: "1.0"
description: Waits for a person with a lock in its hands.
deadline: 60d
steps:
  - {id: plan, type: agent_call, agent: reader, resource_lock: "site:{{ context.n }}", on_success: approve}
  - {id: approve, type: hitl_approval, resource_lock: "site:{{ context.n }}", risk_assessment: {type: override, risk_level: high}, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;
/// One run in so many is of that kind.
const HOLDS_EVERY: usize = 10;

/// What happens in a window in which nobody asks for anything.
#[derive(Clone, Copy, Debug)]
struct Cost {
    transactions: u64,
    messages: u64,
    /// Events that were read: by whoever loads a run.
    events_read: u64,
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

async fn events_read(world: &World) -> u64 {
    let rows: i64 = sqlx::query_scalar(
        "select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint from pg_stat_user_tables
          where relname like 'events%'",
    )
    .fetch_one(&world.pool)
    .await
    .unwrap();
    rows.try_into().unwrap()
}

/// How often the server has cleaned up a table of this database by itself: some transactions each time,
/// which are nobody's who is measured here.
async fn cleanings(world: &World) -> i64 {
    count(world, "select sum(autovacuum_count + autoanalyze_count)::bigint from pg_stat_all_tables")
        .await
}

/// The cost of a window in which the server did not clean up.
async fn cost(world: &World, messages: &AtomicU64) -> Cost {
    for _ in 0..WINDOWS {
        let before = cleanings(world).await;
        let cost = cost_of_window(world, messages).await;
        if cleanings(world).await == before {
            return cost;
        }
    }
    panic!("the server cleans up all the time");
}

async fn cost_of_window(world: &World, messages: &AtomicU64) -> Cost {
    // What was done before is counted a second later.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let read = events_read(world).await;
    let before = (transactions(world).await, messages.load(Ordering::Relaxed));
    tokio::time::sleep(WINDOW).await;
    let after = (transactions(world).await, messages.load(Ordering::Relaxed));
    Cost {
        transactions: after.0 - before.0,
        messages: after.1 - before.1,
        events_read: events_read(world).await - read,
    }
}

async fn count(world: &World, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(&world.pool).await.unwrap()
}

/// Starts the runs and waits until nothing is left to do for them; the first ones of either kind come back.
async fn pause_runs(world: &World) -> [String; 2] {
    let starts = (0..PAUSED).map(|n| match n % HOLDS_EVERY {
        0 => world.execute("holds", json!({"n": n})),
        _ => world.execute("waits", json!({"n": n})),
    });
    let ids: Vec<String> = futures::stream::iter(starts).buffered(AT_ONCE).collect().await;
    let until = Instant::now() + PATIENCE * 4;
    let left = "select (select count(*) from attempts) + (select count(*) from runs where status <> 'paused')";
    while count(world, left).await > 0 {
        assert!(Instant::now() < until, "announcements that never end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    [ids[0].clone(), ids[1].clone()]
}

async fn cached_states(world: &World) -> u64 {
    let metrics = world.http.get(format!("{}/metrics", world.url)).send().await.unwrap();
    let text = metrics.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("sluice_cached_states "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

/// Whoever was there a month ago can still be answered, and the run knows how long it has waited.
async fn decide(world: &World, id: &str) {
    let (status, why) = world.get(&format!("/workflow/{id}/why")).await;
    assert_eq!(status, 200, "{why}");
    let since = Timestamp::parse(why["waits"][0]["since"].as_str().unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let waited_s = now.as_secs().cast_signed() - since.as_micros() / 1_000_000;
    assert_eq!(waited_s / (24 * 3_600), month::DAYS, "{why:#}");
    let (status, verified) = world.get(&format!("/workflow/{id}/verify")).await;
    assert_eq!((status, &verified["valid"]), (200, &json!(true)), "{verified:#}");
    let (status, answer) = world.resume(id, json!({"approval_decision": "approved"})).await;
    assert_eq!(status, 200, "{answer}");
    world.wait_for(id, "completed").await;
}

#[test]
#[expect(clippy::print_stdout, reason = "shows its numbers when asked")]
fn a_thousand_runs_that_wait_for_people_for_a_month_cost_nothing() {
    run(async {
        let agents = Agents::agreeable().await;
        let yaml = agents.yaml(&[("reader", false)]);
        let world = World::builder().template("waits", WAITS).template("holds", HOLDS);
        // As everywhere: what nobody is at work on for a day is marked.
        let mut world = world.agents(&yaml).workflow_ttl_ms(24 * 3_600_000).start().await;
        let messages = count_messages(&world).await;
        let without = cost(&world, &messages).await;
        let decided = pause_runs(&world).await;
        // A coordinator that was not there when they paused keeps nothing of them.
        world.stop_coordinators().await;
        month::pass(&world).await;
        world.start_coordinator().await;
        let with = cost(&world, &messages).await;
        println!(
            "in {WINDOW:?} without runs {without:?}, with {PAUSED} that have been paused for {} days {with:?}",
            month::DAYS
        );
        assert!(without.transactions > 20 && without.messages > 20, "{without:?} measures nothing");
        // Sweeps do not come to the tick; one statement or message a run would be a thousand more.
        let most = |n: u64| n + n / 4 + 20;
        assert!(with.transactions <= most(without.transactions), "{without:?} {with:?}");
        assert!(with.messages <= most(without.messages), "{without:?} {with:?}");
        assert_eq!(with.events_read, 0, "nobody looks at a run that waits");
        assert_eq!(cached_states(&world).await, 0);
        let paused = "select count(*) from runs where status = 'paused'";
        assert_eq!(count(&world, paused).await, PAUSED as i64);
        let left = "select (select count(*) from attempts) + (select count(*) from lock_waiters)";
        assert_eq!(count(&world, left).await, 0);
        let read = events_read(&world).await;
        for id in &decided {
            decide(&world, id).await;
        }
        let until = Instant::now() + PATIENCE;
        while events_read(&world).await == read {
            assert!(Instant::now() < until, "reading of events is not counted");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        world.stop().await;
    });
}
