//! `runs`: where each run stands.

use sluice_engine::State;
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;
use sqlx::{PgConnection, Row};

use super::{Moment, StoreError};

/// What every writer reads first.
#[derive(Clone, Debug)]
pub(crate) struct RunHead {
    pub(crate) workflow_id: WorkflowId,
    pub(crate) started_month: time::Date,
    pub(crate) template_name: String,
    pub(crate) template_sha256: String,
    pub(crate) sequence: u64,
    pub(crate) last_hash: [u8; 32],
}

/// A run row as it will be after a batch.
#[derive(Clone, Debug)]
pub(crate) struct RunRow {
    pub(crate) workflow_id: String,
    pub(crate) started_month: time::Date,
    pub(crate) template_name: String,
    pub(crate) template_sha256: String,
    pub(crate) status: &'static str,
    pub(crate) current_step: Option<String>,
    pub(crate) expected_sequence: i64,
    pub(crate) sequence: i64,
    pub(crate) last_hash: Vec<u8>,
    pub(crate) parent_workflow_id: Option<String>,
    pub(crate) started_at: Moment,
    pub(crate) updated_at: Moment,
    pub(crate) completed_at: Option<Moment>,
    pub(crate) failed_step: Option<String>,
    pub(crate) error_message: Option<String>,
}

impl RunRow {
    /// What the table says of a run in this state that nobody has written before.
    pub(crate) fn of(
        state: &State,
        started_month: time::Date,
        current_step: Option<String>,
        last_hash: Vec<u8>,
    ) -> Self {
        Self {
            workflow_id: state.workflow_id.to_string(),
            started_month,
            template_name: state.template_name.clone(),
            template_sha256: state.template_sha256.clone(),
            status: state.status.as_str(),
            current_step,
            expected_sequence: 0,
            sequence: i64::try_from(state.sequence).unwrap_or(i64::MAX),
            last_hash,
            parent_workflow_id: state.parent_workflow_id.as_ref().map(ToString::to_string),
            started_at: state.started_at.into(),
            updated_at: state.updated_at.into(),
            completed_at: state.completed_at.map(Into::into),
            failed_step: state.failed_step.clone(),
            error_message: state.error_message.clone(),
        }
    }
}

/// Heads of the runs that exist among `ids`.
pub(crate) async fn find_heads(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<Vec<RunHead>, StoreError> {
    let rows = sqlx::query(
        "select workflow_id, started_month, template_sha256, sequence, last_hash, template_name
           from runs where workflow_id = any($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter().map(head).collect()
}

fn head(row: &sqlx::postgres::PgRow) -> Result<RunHead, StoreError> {
    let unreadable = |cause: String| StoreError::Unreadable { what: "run".to_owned(), cause };
    let id: String = row.try_get(0)?;
    let hash: Vec<u8> = row.try_get(4)?;
    Ok(RunHead {
        workflow_id: WorkflowId::parse(&id).map_err(|error| unreadable(error.to_string()))?,
        started_month: row.try_get(1)?,
        template_name: row.try_get(5)?,
        template_sha256: row.try_get(2)?,
        sequence: u64::try_from(row.try_get::<i64, _>(3)?)
            .map_err(|e| unreadable(e.to_string()))?,
        last_hash: hash.try_into().map_err(|_| unreadable("hash of another length".to_owned()))?,
    })
}

/// Everything a run's row says of the run, to be compared with what its events say.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    pub(crate) template_name: String,
    pub(crate) status: String,
    pub(crate) current_step: Option<String>,
    pub(crate) parent_workflow_id: Option<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) completed_at: Option<Timestamp>,
    pub(crate) failed_step: Option<String>,
    pub(crate) error_message: Option<String>,
}

pub(crate) async fn find_projection(
    connection: &mut PgConnection,
    id: &str,
) -> Result<Option<Projection>, StoreError> {
    let row = sqlx::query(
        "select template_name, status, current_step, parent_workflow_id, started_at, updated_at,
                completed_at, failed_step, error_message
           from runs where workflow_id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Projection {
        template_name: row.try_get(0)?,
        status: row.try_get(1)?,
        current_step: row.try_get(2)?,
        parent_workflow_id: row.try_get(3)?,
        started_at: row.try_get::<Moment, _>(4)?.into(),
        updated_at: row.try_get::<Moment, _>(5)?.into(),
        completed_at: row.try_get::<Option<Moment>, _>(6)?.map(Timestamp::from),
        failed_step: row.try_get(7)?,
        error_message: row.try_get(8)?,
    }))
}

/// Templates of a run, of its parent, and so on: at most `limit` of them, none if there is no such run. A
/// parent that is not there ends the walk.
pub(crate) async fn lineage(
    connection: &mut PgConnection,
    workflow_id: &str,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "with recursive line (template_name, parent, place) as (
             select template_name, parent_workflow_id, 1 from runs where workflow_id = $1
             union all
             select r.template_name, r.parent_workflow_id, l.place + 1
               from line l join runs r on r.workflow_id = l.parent
              where l.place < $2)
         select template_name from line order by place",
    )
    .bind(workflow_id)
    .bind(i32::try_from(limit).unwrap_or(i32::MAX))
    .fetch_all(connection)
    .await?)
}

/// Inserts new runs; the ids of those that were free come back.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    rows: &[RunRow],
) -> Result<Vec<String>, StoreError> {
    let inserted = sqlx::query_scalar(
        "insert into runs (workflow_id, started_month, template_name, template_sha256, status,
                           current_step, sequence, last_hash, parent_workflow_id, started_at,
                           updated_at, completed_at, failed_step, error_message)
         select * from unnest($1::text[], $2::date[], $3::text[], $4::text[], $5::text[], $6::text[],
                              $7::bigint[], $8::bytea[], $9::text[], $10::timestamptz[],
                              $11::timestamptz[], $12::timestamptz[], $13::text[], $14::text[])
         on conflict (workflow_id) do nothing
         returning workflow_id",
    )
    .bind(column(rows, |r| r.workflow_id.clone()))
    .bind(column(rows, |r| r.started_month))
    .bind(column(rows, |r| r.template_name.clone()))
    .bind(column(rows, |r| r.template_sha256.clone()))
    .bind(column(rows, |r| r.status))
    .bind(column(rows, |r| r.current_step.clone()))
    .bind(column(rows, |r| r.sequence))
    .bind(column(rows, |r| r.last_hash.clone()))
    .bind(column(rows, |r| r.parent_workflow_id.clone()))
    .bind(column(rows, |r| r.started_at))
    .bind(column(rows, |r| r.updated_at))
    .bind(column(rows, |r| r.completed_at))
    .bind(column(rows, |r| r.failed_step.clone()))
    .bind(column(rows, |r| r.error_message.clone()))
    .fetch_all(connection)
    .await?;
    Ok(inserted)
}

/// Moves runs on that are still at the expected sequence; how many were. A hidden run that goes on again is
/// shown again; what an archived run has new is to go into the archive too.
pub(crate) async fn update(
    connection: &mut PgConnection,
    rows: &[RunRow],
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "update runs r
            set status = u.status, current_step = u.current_step, sequence = u.sequence,
                last_hash = u.last_hash, updated_at = u.updated_at, completed_at = u.completed_at,
                failed_step = u.failed_step, error_message = u.error_message, archived_at = null,
                hidden_at = case when u.completed_at is not null then r.hidden_at end,
                hidden_by = case when u.completed_at is not null then r.hidden_by end
           from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bytea[],
                       $7::timestamptz[], $8::timestamptz[], $9::text[], $10::text[])
                as u (workflow_id, expected, status, current_step, sequence, last_hash, updated_at,
                      completed_at, failed_step, error_message)
          where r.workflow_id = u.workflow_id and r.sequence = u.expected",
    )
    .bind(column(rows, |r| r.workflow_id.clone()))
    .bind(column(rows, |r| r.expected_sequence))
    .bind(column(rows, |r| r.status))
    .bind(column(rows, |r| r.current_step.clone()))
    .bind(column(rows, |r| r.sequence))
    .bind(column(rows, |r| r.last_hash.clone()))
    .bind(column(rows, |r| r.updated_at))
    .bind(column(rows, |r| r.completed_at))
    .bind(column(rows, |r| r.failed_step.clone()))
    .bind(column(rows, |r| r.error_message.clone()))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Turns rows into one column, as `unnest` takes it.
pub(super) fn column<'r, R, T>(rows: &'r [R], field: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(field).collect()
}
