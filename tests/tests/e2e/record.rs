//! The record: signed, chained, and closed to change by the database itself.

use serde_json::{Value, json};
use sluice_proto::api::EventRecord;
use sluice_proto::seal::{SigningKey, hex, sha256_hex};
use sluice_tests::agents::Agents;
use sluice_tests::{SECRET, World, run};
use sqlx::{Connection, PgConnection, Row};

const TEMPLATE: &str = r#"
name: Two steps
version: "1.0"
description: Enough for a chain.
steps:
  - {id: one, type: agent_call, agent: helper, on_success: two}
  - {id: two, type: agent_call, agent: helper, on_success: workflow_complete}
"#;

async fn finished_run() -> (World, String) {
    let agents = Agents::start(|_| (200, json!({"n": 1.0, "text": "é\u{1F600}"}))).await;
    let yaml = agents.yaml(&[("helper", false)]);
    let world = World::builder().template("two", TEMPLATE).agents(&yaml).start().await;
    let id = world.execute("two", json!({"big": 9_007_199_254_740_991_i64, "half": 0.5})).await;
    world.wait_for(&id, "completed").await;
    (world, id)
}

#[test]
fn every_event_is_signed_and_names_the_one_before() {
    run(async {
        let (world, id) = finished_run().await;
        let key = SigningKey::new(&SECRET).unwrap();
        let rows = sqlx::query(
            "select sequence, body, signature from events where workflow_id = $1 order by sequence",
        )
        .bind(&id)
        .fetch_all(&world.pool)
        .await
        .unwrap();
        assert_eq!(rows.len(), 4, "start, two steps, end");
        let mut previous = "0".repeat(64);
        for (n, row) in rows.iter().enumerate() {
            let (body, signature): (Vec<u8>, Vec<u8>) = (row.get(1), row.get(2));
            assert_eq!(row.get::<i64, _>(0), i64::try_from(n).unwrap() + 1);
            assert!(key.verify(&body, &signature));
            let event: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(event["prev_hash"], previous);
            assert_eq!(event["key_id"], key.key_id());
            previous = sha256_hex(&body);
        }
        let (head,): (String,) =
            sqlx::query_as("select encode(last_hash, 'hex') from runs where workflow_id = $1")
                .bind(&id)
                .fetch_one(&world.pool)
                .await
                .unwrap();
        assert_eq!(head, previous);
        world.stop().await;
    });
}

#[test]
fn nobody_changes_an_event() {
    run(async {
        let (world, id) = finished_run().await;
        for (who, url) in
            [("owner", world.database_owner_url()), ("run-time role", world.database_url())]
        {
            for statement in
                ["update events set sequence = 9", "delete from events", "truncate events"]
            {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let refused = sqlx::query(statement).execute(&mut connection).await.unwrap_err();
                let code = refused.as_database_error().unwrap().code().unwrap().to_string();
                assert_eq!(code, "42501", "{who}: {statement}: {refused}");
            }
        }
        let readable: (String, Value) = sqlx::query_as(
            "select action, data from workflow_events where workflow_id = $1 and sequence = 2",
        )
        .bind(&id)
        .fetch_one(&world.pool)
        .await
        .unwrap();
        assert_eq!(readable.0, "complete_step");
        assert_eq!(readable.1["result"], json!({"n": 1, "text": "é\u{1F600}"}));
        world.stop().await;
    });
}

#[test]
fn the_history_is_read_in_pages() {
    run(async {
        let (world, id) = finished_run().await;
        let page = async |query: &str| world.get(&format!("/workflow/{id}/events{query}")).await;
        let (status, whole) = page("").await;
        assert_eq!(status, 200, "{whole}");
        assert_eq!((&whole["total_events"], &whole["limit"]), (&json!(4), &json!(100)));
        let events = whole["events"].as_array().unwrap();
        let key = SigningKey::new(&SECRET).unwrap();
        let records: Vec<EventRecord> = serde_json::from_value(whole["events"].clone()).unwrap();
        for record in records {
            assert_eq!(hex(&key.seal(&record.event).unwrap().signature), record.signature);
        }
        let (_, two) = page("?limit=2&offset=1").await;
        assert_eq!(two["events"].as_array().unwrap()[..], events[1..3]);
        assert_eq!(page("?limit=5000").await.1["limit"], 1_000);
        let (_, steps) = page("?action=COMPLETE_STEP&offset=1").await;
        assert_eq!((&steps["total_events"], &steps["events"]), (&json!(2), &json!([events[2]])));
        let (_, none) = page("?offset=9").await;
        assert_eq!((&none["total_events"], &none["events"]), (&json!(4), &json!([])));
        for (query, status) in [("?action=nap", 400), ("?limit=-1", 422), ("?offset=x", 422)] {
            assert_eq!(page(query).await.0, status, "{query}");
        }
        assert_eq!(world.get("/workflow/nobody/events").await.0, 404);
        world.stop().await;
    });
}
