//! `timers`: moments that runs wait for.

use sqlx::PgConnection;

use super::runs::column;
use super::{Moment, StoreError};

/// Most timers that one sweep looks at.
const SWEEP_LIMIT: i64 = 1_000;

/// A moment that a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimerRow {
    pub(crate) workflow_id: String,
    pub(crate) step_path: String,
    pub(crate) visit: i32,
    pub(crate) due_at: Moment,
}

pub(crate) async fn insert(
    connection: &mut PgConnection,
    rows: &[TimerRow],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into timers (workflow_id, step_path, visit, due_at)
         select * from unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[])
         on conflict do nothing",
    )
    .bind(column(rows, |r| r.workflow_id.clone()))
    .bind(column(rows, |r| r.step_path.clone()))
    .bind(column(rows, |r| r.visit))
    .bind(column(rows, |r| r.due_at))
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes timers, due or not.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    rows: &[TimerRow],
) -> Result<(), StoreError> {
    sqlx::query(
        "delete from timers t using unnest($1::text[], $2::text[], $3::int[]) as k (w, s, v)
          where t.workflow_id = k.w and t.step_path = k.s and t.visit = k.v",
    )
    .bind(column(rows, |r| r.workflow_id.clone()))
    .bind(column(rows, |r| r.step_path.clone()))
    .bind(column(rows, |r| r.visit))
    .execute(connection)
    .await?;
    Ok(())
}

/// Moments that have come: `(workflow id, step, visit)`, the oldest first.
pub(crate) async fn due(
    connection: &mut PgConnection,
    now: Moment,
) -> Result<Vec<(String, String, i32)>, StoreError> {
    Ok(sqlx::query_as(
        "select workflow_id, step_path, visit from timers where due_at <= $1 order by due_at limit $2",
    )
    .bind(now)
    .bind(SWEEP_LIMIT)
    .fetch_all(connection)
    .await?)
}
