//! `snapshots`: states of runs after every tenth event, the last three of each.

use sluice_proto::api::SnapshotView;
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;
use sqlx::{PgConnection, Row};

use super::runs::column;
use super::{Moment, StoreError};

/// Events from the newest snapshot back to which older ones are kept: three of them.
const KEPT_EVENTS: i64 = 30;

/// One kept state.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotRow {
    pub(crate) workflow_id: String,
    pub(crate) event_count: i64,
    pub(crate) snapshot_id: String,
    pub(crate) format: i32,
    pub(crate) state: Vec<u8>,
    pub(crate) last_hash: Vec<u8>,
    pub(crate) key_id: String,
    pub(crate) signature: Vec<u8>,
    pub(crate) created_at: Moment,
}

/// Keeps states, and lets go of those that are too old.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    rows: &[SnapshotRow],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into snapshots (workflow_id, event_count, snapshot_id, format, state, last_hash, key_id,
                                signature, created_at)
         select * from unnest($1::text[], $2::bigint[], $3::text[], $4::int[], $5::bytea[], $6::bytea[],
                              $7::text[], $8::bytea[], $9::timestamptz[])",
    )
    .bind(column(rows, |r| r.workflow_id.clone()))
    .bind(column(rows, |r| r.event_count))
    .bind(column(rows, |r| r.snapshot_id.clone()))
    .bind(column(rows, |r| r.format))
    .bind(column(rows, |r| r.state.as_slice()))
    .bind(column(rows, |r| r.last_hash.as_slice()))
    .bind(column(rows, |r| r.key_id.clone()))
    .bind(column(rows, |r| r.signature.as_slice()))
    .bind(column(rows, |r| r.created_at))
    .execute(&mut *connection)
    .await?;
    let long: Vec<&SnapshotRow> = rows.iter().filter(|r| r.event_count > KEPT_EVENTS).collect();
    if long.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from snapshots s using unnest($1::text[], $2::bigint[]) as u (workflow_id, newest)
          where s.workflow_id = u.workflow_id and s.event_count <= u.newest - $3",
    )
    .bind(column(&long, |r| r.workflow_id.clone()))
    .bind(column(&long, |r| r.event_count))
    .bind(KEPT_EVENTS)
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest kept state of each of these runs, in this format.
pub(crate) async fn newest(
    connection: &mut PgConnection,
    ids: &[String],
    format: i32,
) -> Result<Vec<SnapshotRow>, StoreError> {
    let rows = sqlx::query(
        "select s.* from unnest($1::text[]) as u (id)
          cross join lateral (select * from snapshots where workflow_id = u.id and format = $2
                               order by event_count desc limit 1) s",
    )
    .bind(ids)
    .bind(format)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// Every kept state of a run, the oldest first.
pub(crate) async fn of_run(
    connection: &mut PgConnection,
    id: &str,
) -> Result<Vec<SnapshotRow>, StoreError> {
    let rows = sqlx::query("select * from snapshots where workflow_id = $1 order by event_count")
        .bind(id)
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &sqlx::postgres::PgRow) -> Result<SnapshotRow, StoreError> {
    Ok(SnapshotRow {
        workflow_id: row.try_get("workflow_id")?,
        event_count: row.try_get("event_count")?,
        snapshot_id: row.try_get("snapshot_id")?,
        format: row.try_get("format")?,
        state: row.try_get("state")?,
        last_hash: row.try_get("last_hash")?,
        key_id: row.try_get("key_id")?,
        signature: row.try_get("signature")?,
        created_at: row.try_get("created_at")?,
    })
}

impl SnapshotRow {
    pub(crate) fn view(self, workflow_id: &WorkflowId) -> SnapshotView {
        SnapshotView {
            snapshot_id: self.snapshot_id,
            workflow_id: workflow_id.clone(),
            event_count: self.event_count.unsigned_abs(),
            created_at: Timestamp::from(self.created_at),
        }
    }
}
