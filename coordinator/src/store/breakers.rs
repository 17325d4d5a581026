//! `breakers`: steps that keep failing across runs.

use sluice_engine::breaker::{Breaker, Trial};
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::runs::column;
use super::{Moment, StoreError};

/// Most breakers in one answer.
const MAX_LISTED: i64 = 10_000;

/// A breaker with its name.
#[derive(Clone, Debug)]
pub(crate) struct StoredBreaker {
    pub(crate) template_name: String,
    pub(crate) step: String,
    /// Of the row; 0 when there is none yet.
    pub(crate) version: i64,
    pub(crate) breaker: Breaker,
    pub(crate) updated_at: Timestamp,
}

/// Every breaker of these templates.
pub(crate) async fn find(
    connection: &mut PgConnection,
    templates: &[String],
) -> Result<Vec<StoredBreaker>, StoreError> {
    sqlx::query("select * from breakers where template_name = any($1)")
        .bind(templates)
        .fetch_all(connection)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Every breaker about which there is something to say.
pub(crate) async fn list(connection: &mut PgConnection) -> Result<Vec<StoredBreaker>, StoreError> {
    sqlx::query(
        "select * from breakers where failures > 0 or opened_at is not null
          order by opened_at is null, template_name, step limit $1",
    )
    .bind(MAX_LISTED)
    .fetch_all(connection)
    .await?
    .iter()
    .map(read)
    .collect()
}

/// Writes breakers that nobody has changed since they were read; how many were.
pub(crate) async fn write(
    connection: &mut PgConnection,
    rows: &[StoredBreaker],
) -> Result<u64, StoreError> {
    let int = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let done = sqlx::query(
        "insert into breakers as b (template_name, step, failures, successes, opened_at, trial_workflow_id,
                                    trial_until, updated_at, version)
         select u.template_name, u.step, u.failures, u.successes, u.opened_at, u.trial, u.trial_until,
                u.updated_at, u.version + 1
           from unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::int[], $6::timestamptz[],
                       $7::text[], $8::timestamptz[], $9::timestamptz[])
                as u (template_name, step, version, failures, successes, opened_at, trial, trial_until,
                      updated_at)
          order by 1, 2
         on conflict (template_name, step) do update
            set failures = excluded.failures, successes = excluded.successes,
                opened_at = excluded.opened_at, trial_workflow_id = excluded.trial_workflow_id,
                trial_until = excluded.trial_until, updated_at = excluded.updated_at,
                version = excluded.version
          where b.version = excluded.version - 1",
    )
    .bind(column(rows, |r| r.template_name.clone()))
    .bind(column(rows, |r| r.step.clone()))
    .bind(column(rows, |r| r.version))
    .bind(column(rows, |r| int(r.breaker.failures)))
    .bind(column(rows, |r| int(r.breaker.successes)))
    .bind(column(rows, |r| r.breaker.opened_at.map(Moment::from)))
    .bind(column(rows, |r| r.breaker.trial.as_ref().map(|trial| trial.workflow_id.to_string())))
    .bind(column(rows, |r| r.breaker.trial.as_ref().map(|trial| Moment::from(trial.until))))
    .bind(column(rows, |r| Moment::from(r.updated_at)))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

fn read(row: &PgRow) -> Result<StoredBreaker, StoreError> {
    let small = |name: &str| -> Result<u32, StoreError> {
        Ok(u32::try_from(row.try_get::<i32, _>(name)?).unwrap_or_default())
    };
    let moment = |name: &str| -> Result<Option<Timestamp>, StoreError> {
        Ok(row.try_get::<Option<Moment>, _>(name)?.map(Timestamp::from))
    };
    let trial: Option<String> = row.try_get("trial_workflow_id")?;
    let trial = trial.and_then(|id| WorkflowId::parse(&id).ok()).zip(moment("trial_until")?);
    Ok(StoredBreaker {
        template_name: row.try_get("template_name")?,
        step: row.try_get("step")?,
        version: row.try_get("version")?,
        breaker: Breaker {
            failures: small("failures")?,
            successes: small("successes")?,
            opened_at: moment("opened_at")?,
            trial: trial.map(|(workflow_id, until)| Trial { workflow_id, until }),
        },
        updated_at: moment("updated_at")?.unwrap_or_default(),
    })
}
