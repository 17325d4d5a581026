//! `events_archive` and `runs.archived_at`: runs that have ended, and where their events are.

use sluice_proto::api::EndedRun;
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Moment, StoreError};

/// Makes the partitions for the next batch of at most `most_runs`.
pub(crate) async fn ensure_partitions(
    connection: &mut PgConnection,
    ended_before: Moment,
    most_runs: i32,
) -> Result<(), StoreError> {
    sqlx::query("select ensure_archive_partitions($1, $2)")
        .bind(ended_before)
        .bind(most_runs)
        .execute(connection)
        .await?;
    Ok(())
}

/// Moves a batch in one transaction: how many runs, and how many events.
pub(crate) async fn move_ended(
    connection: &mut PgConnection,
    ended_before: Moment,
    most_runs: i32,
    most_events: i64,
    actor: &str,
) -> Result<(u64, u64), StoreError> {
    let row =
        sqlx::query("select moved_runs, moved_events from archive_ended_runs($1, $2, $3, $4)")
            .bind(ended_before)
            .bind(most_runs)
            .bind(most_events)
            .bind(actor)
            .fetch_one(connection)
            .await?;
    Ok((row.try_get::<i64, _>(0)?.unsigned_abs(), row.try_get::<i64, _>(1)?.unsigned_abs()))
}

/// Runs that ended at `since` or later, the first first, behind a place.
pub(crate) async fn ended_since(
    connection: &mut PgConnection,
    since: Moment,
    after: &str,
    limit: i64,
) -> Result<Vec<EndedRun>, StoreError> {
    // Whatever ended then was archived then or is not archived: two ranges of one index.
    let rows = sqlx::query(
        "select workflow_id, template_name, status, completed_at, archived_at
           from ((select * from runs where completed_at is not null and archived_at is null
                    and completed_at >= $1 and (completed_at, workflow_id) > ($1, $2))
                 union all
                 (select * from runs where completed_at is not null and archived_at >= $1
                    and completed_at >= $1 and (completed_at, workflow_id) > ($1, $2))) r
          order by completed_at, workflow_id limit $3",
    )
    .bind(since)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(ended).collect()
}

/// Runs that were archived at `since` or later, the first first, behind a place.
pub(crate) async fn archived_since(
    connection: &mut PgConnection,
    since: Moment,
    after: &str,
    limit: i64,
) -> Result<Vec<EndedRun>, StoreError> {
    let rows = sqlx::query(
        "select workflow_id, template_name, status, completed_at, archived_at
           from runs
          where completed_at is not null and archived_at >= $1
            and (archived_at, workflow_id) > ($1, $2)
          order by archived_at, workflow_id limit $3",
    )
    .bind(since)
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(ended).collect()
}

fn ended(row: &PgRow) -> Result<EndedRun, StoreError> {
    let unreadable = |cause: String| StoreError::Unreadable { what: "run".to_owned(), cause };
    let (id, status): (String, String) = (row.try_get(0)?, row.try_get(2)?);
    Ok(EndedRun {
        workflow_id: WorkflowId::parse(&id).map_err(|error| unreadable(error.to_string()))?,
        template_name: row.try_get(1)?,
        status: serde_json::from_value(status.into()).map_err(|e| unreadable(e.to_string()))?,
        completed_at: Timestamp::from(row.try_get::<Moment, _>(3)?),
        archived_at: row.try_get::<Option<Moment>, _>(4)?.map(Timestamp::from),
    })
}
