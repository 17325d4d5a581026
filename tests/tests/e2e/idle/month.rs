//! Lets a month pass for an installation that stands still: afterwards everything that is stored is as it
//! would be, had it happened a month earlier. The record is sealed anew, and verifies.

use std::collections::BTreeMap;

use sluice_proto::event::{Event, EventBody};
use sluice_proto::seal::{GENESIS_HASH, SigningKey, hex};
use sluice_proto::timestamp::Timestamp;
use sluice_tests::{SECRET, World};
use sqlx::{Connection, PgConnection};

/// Days of the simulated month.
pub(super) const DAYS: i64 = 31;

/// One event, sealed anew.
struct Moved {
    workflow_id: String,
    sequence: i64,
    body: Vec<u8>,
    signature: Vec<u8>,
}

/// No coordinator may be running.
pub(super) async fn pass(world: &World) {
    let mut connection = PgConnection::connect(world.database_owner_url()).await.unwrap();
    let rows: Vec<(String, i64, Vec<u8>)> =
        sqlx::query_as("select workflow_id, sequence, body from events order by 1, 2")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let (moved, heads) = seal_anew(rows);
    let mut transaction = connection.begin().await.unwrap();
    run(&mut transaction, "select ensure_event_partitions((now() - interval '31 days')::date, 2)")
        .await;
    // Nobody else can do this: the owner takes away what keeps the record from being changed.
    run(&mut transaction, "alter table events disable trigger user").await;
    run(&mut transaction, "delete from events").await;
    for statement in [
        "update runs set started_at = started_at - interval '31 days', updated_at = updated_at - interval '31 days'",
        "update runs set started_month = date_trunc('month', started_at at time zone 'utc')::date",
        "update approvals set created_at = created_at - interval '31 days'",
        "update locks set acquired_at = acquired_at - interval '31 days'",
        "update timers set due_at = due_at - interval '31 days'",
    ] {
        run(&mut transaction, statement).await;
    }
    sqlx::query(
        "insert into events (started_month, workflow_id, sequence, body, signature)
         select r.started_month, m.* from unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[])
                as m (workflow_id, sequence, body, signature) join runs r using (workflow_id)",
    )
    .bind(moved.iter().map(|event| event.workflow_id.clone()).collect::<Vec<_>>())
    .bind(moved.iter().map(|event| event.sequence).collect::<Vec<_>>())
    .bind(moved.iter().map(|event| event.body.clone()).collect::<Vec<_>>())
    .bind(moved.iter().map(|event| event.signature.clone()).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await
    .unwrap();
    let (ids, hashes): (Vec<String>, Vec<Vec<u8>>) =
        heads.into_iter().map(|(id, hash)| (id, hash.to_vec())).unzip();
    sqlx::query(
        "update runs set last_hash = h.hash
           from unnest($1::text[], $2::bytea[]) as h (workflow_id, hash) where runs.workflow_id = h.workflow_id",
    )
    .bind(ids)
    .bind(hashes)
    .execute(&mut *transaction)
    .await
    .unwrap();
    run(&mut transaction, "alter table events enable trigger user").await;
    transaction.commit().await.unwrap();
}

async fn run(connection: &mut PgConnection, statement: &'static str) {
    sqlx::query(statement).execute(connection).await.unwrap();
}

/// The events as they would have been written, and the last hash of each run.
fn seal_anew(rows: Vec<(String, i64, Vec<u8>)>) -> (Vec<Moved>, BTreeMap<String, [u8; 32]>) {
    let key = SigningKey::new(&SECRET).unwrap();
    let mut heads: BTreeMap<String, [u8; 32]> = BTreeMap::new();
    let moved = rows.into_iter().map(|(workflow_id, sequence, body)| {
        let mut event: Event = serde_json::from_slice(&body).unwrap();
        event.timestamp = earlier(event.timestamp);
        if let EventBody::StartWorkflow(start) = &mut event.body {
            start.deadline_at = start.deadline_at.map(earlier);
        }
        let head = heads.entry(workflow_id.clone()).or_insert(GENESIS_HASH);
        event.prev_hash = hex(head);
        let sealed = key.seal(&event).unwrap();
        *head = sealed.hash;
        Moved { workflow_id, sequence, body: sealed.body, signature: sealed.signature.to_vec() }
    });
    (moved.collect(), heads)
}

fn earlier(moment: Timestamp) -> Timestamp {
    Timestamp::from_micros(moment.as_micros() - DAYS * 24 * 3_600 * 1_000_000)
}
