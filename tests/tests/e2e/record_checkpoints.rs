//! Checkpoints: signed lines that the owner of the database cannot take back.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use serde_json::json;
use sluice_coordinator::CheckpointSink;
use sluice_proto::checkpoint::{Checkpoint, CheckpointKey, PublicKey};
use sluice_proto::verify::{Damage, StoredEvent, verify};
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};
use std::sync::{Arc, Mutex};

/// For tests only.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const ASK: &str = r#"
name: Ask
version: "1.0"
description: Asks a person.
steps:
  - {id: look, type: agent_call, agent: helper, on_success: gate}
  - {id: gate, type: hitl_approval, risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;

async fn world(sink: CheckpointSink, coordinators: usize) -> World {
    let agents = Agents::agreeable().await;
    let yaml = agents.yaml(&[("helper", false)]);
    let mut world =
        World::builder().template("ask", ASK).agents(&yaml).coordinators(0).start().await;
    world.checkpoints = Some((KEY.to_owned(), sink));
    for _ in 0..coordinators {
        world.start_coordinator().await;
    }
    while world.get("/workflows").await.0 != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The agents live as long as the test.
    std::mem::forget(agents);
    world
}

fn public() -> [PublicKey; 1] {
    let pem = CheckpointKey::from_pem(KEY).unwrap().public_pem();
    [PublicKey::from_pem(&pem).unwrap()]
}

/// Waits until the lines have one of this run that is so.
async fn wait_for(
    lines: impl Fn() -> String,
    id: &str,
    is_so: impl Fn(&Checkpoint) -> bool,
) -> Vec<Checkpoint> {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = Checkpoint::read_all(&lines(), &public()).unwrap();
        let own: Vec<Checkpoint> =
            all.into_iter().filter(|checkpoint| checkpoint.workflow_id.as_str() == id).collect();
        if own.iter().any(&is_so) {
            return own;
        }
        assert!(Instant::now() < until, "no such checkpoint of {id}: {own:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

async fn stored(world: &World, id: &str) -> Vec<StoredEvent> {
    let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "select sequence, body, signature from events where workflow_id = $1 order by sequence",
    )
    .bind(id)
    .fetch_all(&world.pool)
    .await
    .unwrap();
    let event = |(n, body, signature): (i64, Vec<u8>, Vec<u8>)| StoredEvent {
        sequence: n.unsigned_abs(),
        body,
        signature,
    };
    rows.into_iter().map(event).collect()
}

/// Waits until the line that is kept is settled too: it is kept first.
async fn is_due_no_more(world: &World, id: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let due: i64 =
            sqlx::query_scalar("select count(*) from checkpoints_due where workflow_id = $1")
                .bind(id)
                .fetch_one(&world.pool)
                .await
                .unwrap();
        if due == 0 {
            return;
        }
        assert!(Instant::now() < until, "what is vouched for is still due");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn open_runs_are_vouched_for_soon_and_ended_ones_at_once() {
    run(async {
        let folder = sluice_tests::processes::folder::Folder::new("checkpoints");
        let file = folder.path().join("checkpoints.ndjson");
        let world = world(CheckpointSink::File(file.clone()), 2).await;
        let id = world.execute("ask", json!({})).await;
        world.wait_for(&id, "paused").await;
        let paused = stored(&world, &id).await.len() as u64;
        let own = wait_for(|| text(&file), &id, |checkpoint| checkpoint.sequence >= paused).await;
        assert!(own.iter().all(|checkpoint| !checkpoint.ended));
        world.resume(&id, json!({"approval_decision": "approved", "approver": "ada"})).await;
        world.wait_for(&id, "completed").await;
        let own = wait_for(|| text(&file), &id, |checkpoint| checkpoint.ended).await;
        let end = own.iter().find(|checkpoint| checkpoint.ended).unwrap();
        let events = stored(&world, &id).await;
        let heads: Vec<_> = own.iter().map(Checkpoint::head).collect();
        // Neither a secret nor the run's row is needed.
        assert_eq!(verify(&id, &events, None, &heads).findings, []);
        for keep in 0..end.sequence {
            let cut = &events[..usize::try_from(keep).unwrap()];
            let found = verify(&id, cut, None, &heads).findings;
            assert!(
                found.iter().any(|finding| finding.damage == Damage::Truncated),
                "{keep}: {found:?}"
            );
        }
        is_due_no_more(&world, &id).await;
        world.stop().await;
    });
}

#[test]
fn a_sink_that_is_away_gets_everything_later() {
    run(async {
        let taken: Arc<Mutex<String>> = Arc::default();
        let kept = Arc::clone(&taken);
        let refusals = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let refused = Arc::clone(&refusals);
        let is_away = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let away = Arc::clone(&is_away);
        let take = move |body: String| {
            let (kept, away, refused) =
                (Arc::clone(&kept), Arc::clone(&away), Arc::clone(&refused));
            async move {
                if away.load(std::sync::atomic::Ordering::SeqCst) {
                    refused.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    return axum::http::StatusCode::SERVICE_UNAVAILABLE;
                }
                kept.lock().unwrap().push_str(&body);
                axum::http::StatusCode::NO_CONTENT
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/lines", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            axum::serve(listener, Router::new().route("/lines", post(take))).await
        });
        let mut world = world(CheckpointSink::Http(url), 1).await;
        let id = world.execute("ask", json!({})).await;
        world.wait_for(&id, "paused").await;
        world.delete(&format!("/workflow/{id}")).await;
        world.wait_for(&id, "cancelled").await;
        let until = Instant::now() + PATIENCE;
        while refusals.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            assert!(Instant::now() < until, "the sink was never asked");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        is_away.store(false, std::sync::atomic::Ordering::SeqCst);
        // A run whose checkpoint nobody took is due again after a while, for any coordinator.
        let soon = "update checkpoints_due set due_at = now()";
        sqlx::query(soon).execute(&world.pool).await.unwrap();
        world.stop_coordinators().await;
        world.start_coordinator().await;
        let lines = || taken.lock().unwrap().clone();
        let own = wait_for(lines, &id, |checkpoint| checkpoint.ended).await;
        assert!(own.iter().all(|checkpoint| checkpoint.sequence > 0));
        world.stop().await;
        server.abort();
    });
}
