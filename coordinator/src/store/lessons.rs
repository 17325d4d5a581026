//! `lessons`: what became of failures that were alike.

use sluice_engine::lesson::{Lesson, Lessons};
use sluice_proto::timestamp::Timestamp;
use sqlx::{PgConnection, Row};

use super::runs::column;
use super::{Moment, StoreError};

/// Kept for one agent; those that were of use least recently go first.
const MAX_PER_AGENT: i64 = 500;

/// What is added to a lesson.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) agent: String,
    pub(crate) signature: String,
    pub(crate) lesson: Lesson,
}

/// What is remembered of these failures: agent and signature.
pub(crate) async fn find(
    connection: &mut PgConnection,
    keys: &[(String, String)],
) -> Result<Lessons, StoreError> {
    let rows = sqlx::query(
        "select agent, signature, failures, recovered, fix from lessons
          where (agent, signature) in (select * from unnest($1::text[], $2::text[]))",
    )
    .bind(column(keys, |key| key.0.clone()))
    .bind(column(keys, |key| key.1.clone()))
    .fetch_all(connection)
    .await?;
    let count = |row: &sqlx::postgres::PgRow, at: usize| -> Result<u32, StoreError> {
        Ok(u32::try_from(row.try_get::<i64, _>(at)?).unwrap_or(u32::MAX))
    };
    let read = |row: &sqlx::postgres::PgRow| -> Result<_, StoreError> {
        let lesson =
            Lesson { failures: count(row, 2)?, recovered: count(row, 3)?, fix: row.try_get(4)? };
        Ok(((row.try_get(0)?, row.try_get(1)?), lesson))
    };
    rows.iter().map(read).collect()
}

/// Adds what was learned, each key once, and forgets what is too much.
pub(crate) async fn add(
    connection: &mut PgConnection,
    rows: &[Learned],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into lessons as l (agent, signature, failures, recovered, fix, updated_at)
         select agent, signature, failures, recovered, fix, $6
           from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
                as u (agent, signature, failures, recovered, fix)
          order by 1, 2
         on conflict (agent, signature) do update
            set failures = l.failures + excluded.failures, recovered = l.recovered + excluded.recovered,
                fix = coalesce(excluded.fix, l.fix), updated_at = excluded.updated_at",
    )
    .bind(column(rows, |row| row.agent.clone()))
    .bind(column(rows, |row| row.signature.clone()))
    .bind(column(rows, |row| i64::from(row.lesson.failures)))
    .bind(column(rows, |row| i64::from(row.lesson.recovered)))
    .bind(column(rows, |row| row.lesson.fix.clone()))
    .bind(Moment::from(now))
    .execute(&mut *connection)
    .await?;
    // Rows that another coordinator is writing are left for the next time.
    sqlx::query(
        "delete from lessons where (agent, signature) in (
             select l.agent, l.signature from unnest($1::text[]) as a (agent)
              cross join lateral (
                  select agent, signature from lessons where lessons.agent = a.agent
                   order by updated_at desc, signature offset $2) as old
               join lessons as l on l.agent = old.agent and l.signature = old.signature
                for update of l skip locked)",
    )
    .bind(column(rows, |row| row.agent.clone()))
    .bind(MAX_PER_AGENT)
    .execute(connection)
    .await?;
    Ok(())
}
