//! `events`: the history. Inserted and read, never changed.

use std::collections::HashMap;

use sluice_proto::api::EventRecord;
use sluice_proto::event::Event;
use sluice_proto::seal::hex;
use sqlx::{PgConnection, Row};

use super::StoreError;
use super::runs::{RunHead, column};

/// One event as it is inserted.
#[derive(Clone, Debug)]
pub(crate) struct EventRow {
    pub(crate) started_month: time::Date,
    pub(crate) workflow_id: String,
    pub(crate) sequence: i64,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

pub(crate) async fn insert(
    connection: &mut PgConnection,
    rows: &[EventRow],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into events (started_month, workflow_id, sequence, body, signature)
         select * from unnest($1::date[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[])",
    )
    .bind(column(rows, |r| r.started_month))
    .bind(column(rows, |r| r.workflow_id.clone()))
    .bind(column(rows, |r| r.sequence))
    .bind(column(rows, |r| r.body.as_slice()))
    .bind(column(rows, |r| r.signature.as_slice()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Every event of these runs in order, by run. The months keep other partitions out of the search.
pub(crate) async fn find_all(
    connection: &mut PgConnection,
    months: &[time::Date],
    ids: &[String],
) -> Result<HashMap<String, Vec<Event>>, StoreError> {
    let rows = sqlx::query(
        "select workflow_id, body from events
          where started_month = any($1) and workflow_id = any($2)
          order by workflow_id, sequence",
    )
    .bind(months)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let mut events: HashMap<String, Vec<Event>> = HashMap::new();
    for row in rows {
        let id: String = row.try_get(0)?;
        let event = serde_json::from_slice(row.try_get::<&[u8], _>(1)?)
            .map_err(|error| unreadable(&id, &error))?;
        events.entry(id).or_default().push(event);
    }
    Ok(events)
}

/// Which events of a run.
#[derive(Debug)]
pub(crate) struct Page {
    /// Only of this action.
    pub(crate) action: Option<&'static str>,
    pub(crate) limit: u32,
    pub(crate) offset: u32,
    /// The page ends before it is larger than this, yet never without an event.
    pub(crate) bytes: usize,
}

/// A page of one run's events, in order.
pub(crate) async fn page(
    connection: &mut PgConnection,
    run: &RunHead,
    page: &Page,
) -> Result<Vec<EventRecord>, StoreError> {
    let rows = sqlx::query(
        "with asked as (
             select body, signature, sequence from events
              where started_month = $1 and workflow_id = $2
                and ($3::text is null or convert_from(body, 'UTF8')::jsonb ->> 'action' = $3)
              order by sequence limit $4 offset $5),
         measured as (
             select *, sum(octet_length(body)) over (order by sequence) - octet_length(body) as before
               from asked)
         select body, signature from measured where before = 0 or before + octet_length(body) <= $6
          order by sequence",
    )
    .bind(run.started_month)
    .bind(run.workflow_id.as_str())
    .bind(page.action)
    .bind(i64::from(page.limit))
    .bind(i64::from(page.offset))
    .bind(i64::try_from(page.bytes).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let event: Event = serde_json::from_slice(row.try_get::<&[u8], _>(0)?)
                .map_err(|error| unreadable(run.workflow_id.as_str(), &error))?;
            Ok(EventRecord { event, signature: hex(row.try_get::<&[u8], _>(1)?) })
        })
        .collect()
}

/// How many events of one run there are, or how many of one action.
pub(crate) async fn count(
    connection: &mut PgConnection,
    run: &RunHead,
    action: Option<&'static str>,
) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "select count(*) from events
          where started_month = $1 and workflow_id = $2
            and ($3::text is null or convert_from(body, 'UTF8')::jsonb ->> 'action' = $3)",
    )
    .bind(run.started_month)
    .bind(run.workflow_id.as_str())
    .bind(action)
    .fetch_one(connection)
    .await?;
    Ok(count.unsigned_abs())
}

fn unreadable(id: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Unreadable { what: format!("event of {id}"), cause: error.to_string() }
}

/// Makes the partitions of this month and the next two.
pub(crate) async fn ensure_partitions(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("select ensure_event_partitions((now() at time zone 'utc')::date, 3)")
        .execute(connection)
        .await?;
    Ok(())
}
