//! `checkpoints_due`: runs that have moved since their last checkpoint.

use sqlx::{PgConnection, Row};

use super::runs::{RunRow, column};
use super::{Moment, StoreError};

/// Checkpoints made at once.
const LIMIT: i64 = 500;

/// How far a run has come.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) workflow_id: String,
    pub(crate) sequence: i64,
    pub(crate) last_hash: Vec<u8>,
    pub(crate) ended: bool,
}

/// Notes that runs have moved: one that has ended is due now, another by `later`.
pub(crate) async fn note(
    connection: &mut PgConnection,
    rows: &[&RunRow],
    now: Moment,
    later: Moment,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into checkpoints_due as c (workflow_id, sequence, last_hash, ended, due_at)
         select u.id, u.sequence, u.last_hash, u.ended, case when u.ended then $5 else $6 end
           from unnest($1::text[], $2::bigint[], $3::bytea[], $4::boolean[])
                as u (id, sequence, last_hash, ended)
         on conflict (workflow_id) do update
            set sequence = excluded.sequence, last_hash = excluded.last_hash, ended = excluded.ended,
                due_at = least(c.due_at, excluded.due_at)",
    )
    .bind(column(rows, |r| r.workflow_id.clone()))
    .bind(column(rows, |r| r.sequence))
    .bind(column(rows, |r| r.last_hash.as_slice()))
    .bind(column(rows, |r| r.completed_at.is_some()))
    .bind(now)
    .bind(later)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes what is due; it is due again at `again`, for whoever takes it then, unless it is settled.
pub(crate) async fn take(
    connection: &mut PgConnection,
    now: Moment,
    again: Moment,
) -> Result<Vec<Due>, StoreError> {
    let rows = sqlx::query(
        "update checkpoints_due c set due_at = $2
           from (select workflow_id from checkpoints_due where due_at <= $1
                  order by due_at limit $3 for update skip locked) as d
          where c.workflow_id = d.workflow_id
         returning c.workflow_id, c.sequence, c.last_hash, c.ended",
    )
    .bind(now)
    .bind(again)
    .bind(LIMIT)
    .fetch_all(connection)
    .await?;
    let due = |row: &sqlx::postgres::PgRow| {
        Ok(Due {
            workflow_id: row.try_get(0)?,
            sequence: row.try_get(1)?,
            last_hash: row.try_get(2)?,
            ended: row.try_get(3)?,
        })
    };
    rows.iter().map(due).collect()
}

/// These checkpoints are kept. A run that has moved on meanwhile is due by `later`, or now if it has ended.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    made: &[Due],
    now: Moment,
    later: Moment,
) -> Result<(), StoreError> {
    sqlx::query(
        "delete from checkpoints_due c using unnest($1::text[], $2::bigint[]) as u (id, sequence)
          where c.workflow_id = u.id and c.sequence = u.sequence",
    )
    .bind(column(made, |due| due.workflow_id.clone()))
    .bind(column(made, |due| due.sequence))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "update checkpoints_due set due_at = case when ended then $2 else $3 end
          where workflow_id = any($1)",
    )
    .bind(column(made, |due| due.workflow_id.clone()))
    .bind(now)
    .bind(later)
    .execute(connection)
    .await?;
    Ok(())
}
