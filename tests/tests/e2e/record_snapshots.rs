//! Kept states: after every tenth event, the last three, used for loading, and no way round the record.

use serde_json::{Value, json};
use sluice_tests::run;
use sqlx::Executor;

use crate::record_rich::{self, Rich};

async fn counts(rich: &Rich) -> Vec<u64> {
    let kept = rich.ask("snapshots").await;
    let kept = kept.as_array().unwrap();
    assert!(kept.iter().all(|snapshot| snapshot["workflow_id"] == json!(rich.id)), "{kept:?}");
    kept.iter().map(|snapshot| snapshot["event_count"].as_u64().unwrap()).collect()
}

#[test]
fn every_tenth_state_is_kept_and_the_last_three_stay() {
    run(async {
        let mut rich = record_rich::ended().await;
        let expected = async |rich: &Rich| -> Vec<u64> {
            let events = rich.world.events(&rich.id).await.as_array().unwrap().len() as u64;
            (1..=events / 10).map(|tens| tens * 10).collect()
        };
        for n in 0..40 {
            let expected = expected(&rich).await;
            let kept = counts(&rich).await;
            assert_eq!(kept, expected[expected.len().saturating_sub(3)..], "{expected:?}");
            rich.annotate(&format!("note {n}")).await;
        }
        let expected = expected(&rich).await;
        let events = rich.world.events(&rich.id).await;
        let notes: Vec<&Value> = events
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["action"] == "create_snapshot")
            .collect();
        let noted: Vec<u64> =
            notes.iter().map(|event| event["data"]["event_count"].as_u64().unwrap()).collect();
        assert_eq!(noted, expected, "each is an event");
        for note in &notes {
            assert!(note["sequence"].as_u64() > note["data"]["event_count"].as_u64());
        }
        let kept = rich.ask("snapshots").await;
        assert_eq!(kept[2]["snapshot_id"], notes.last().unwrap()["data"]["snapshot_id"]);
        let (_, replayed) = rich.post("replay", json!({})).await;
        assert_eq!((&replayed["matches"], &replayed["differences"]), (&json!(true), &json!([])));
        assert_eq!(replayed["final_state"]["snapshots"].as_array().unwrap().len(), expected.len());

        let before = rich.world.status(&rich.id).await;
        let pool = rich.world.pool.clone();
        // A state is loaded from the newest one: what lies before it is not even read.
        pool.execute("alter table events disable trigger user").await.unwrap();
        let second = "select body from events where workflow_id = $1 and sequence = 2";
        let body: Vec<u8> =
            sqlx::query_scalar(second).bind(&rich.id).fetch_one(&pool).await.unwrap();
        write(&rich, b"unreadable").await;
        restart(&mut rich).await;
        assert_eq!(rich.world.status(&rich.id).await, before);
        rich.annotate("it goes on").await;
        let before = rich.world.status(&rich.id).await;
        write(&rich, &body).await;

        // One that somebody has changed is left alone.
        let changed = "update snapshots set state = convert_to(replace(convert_from(state, 'UTF8'), 'rolled_back\"', 'completed\"'), 'UTF8')
                        where workflow_id = $1";
        sqlx::query(changed).bind(&rich.id).execute(&pool).await.unwrap();
        restart(&mut rich).await;
        assert_eq!(rich.world.status(&rich.id).await, before);
        let (_, replayed) = rich.post("replay", json!({})).await;
        let whats: Vec<&str> = replayed["differences"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|difference| difference["what"].as_str())
            .collect();
        let kept: Vec<String> =
            counts(&rich).await.into_iter().map(|count| format!("snapshots.{count}")).collect();
        assert_eq!(whats, kept, "{replayed:#}");
        assert_eq!(rich.world.get("/workflow/nobody/snapshots").await.0, 404);
        rich.world.stop().await;
    });
}

async fn write(rich: &Rich, body: &[u8]) {
    let statement = "update events set body = $2 where workflow_id = $1 and sequence = 2";
    sqlx::query(statement).bind(&rich.id).bind(body).execute(&rich.world.pool).await.unwrap();
}

/// A coordinator that remembers nothing.
async fn restart(rich: &mut Rich) {
    rich.world.stop_coordinators().await;
    rich.world.start_coordinator().await;
    while rich.world.get("/workflows").await.0 != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[test]
fn a_kept_state_of_another_run_is_no_state_of_this_one() {
    run(async {
        let mut rich = record_rich::ended().await;
        let other = rich.world.execute("rich", json!({"pr_number": 8})).await;
        rich.world.wait_for(&other, "paused").await;
        for n in 0..12 {
            let note = json!({"operator": "bob", "comment": format!("{n}")});
            rich.world.post(&format!("/workflow/{other}/annotate"), &note).await;
        }
        let before = rich.world.status(&other).await;
        let moved = "update snapshots s set snapshot_id = o.snapshot_id, state = o.state, last_hash = o.last_hash,
                            signature = o.signature
                       from snapshots o
                      where s.workflow_id = $1 and s.event_count = 10 and o.workflow_id = $2 and o.event_count = 10";
        let moved = sqlx::query(moved).bind(&other).bind(&rich.id);
        assert_eq!(moved.execute(&rich.world.pool).await.unwrap().rows_affected(), 1);
        restart(&mut rich).await;
        assert_eq!(rich.world.status(&other).await, before);
        rich.world.delete(&format!("/workflow/{other}")).await;
        rich.world.stop().await;
    });
}
