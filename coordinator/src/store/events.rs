//! `events`: the history. Inserted and read, never changed.

use std::collections::HashMap;

use sluice_proto::event::Event;
use sqlx::{PgConnection, Row};

use super::StoreError;
use super::runs::column;

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
        let event = serde_json::from_slice(row.try_get::<&[u8], _>(1)?).map_err(|error| {
            StoreError::Unreadable { what: format!("event of {id}"), cause: error.to_string() }
        })?;
        events.entry(id).or_default().push(event);
    }
    Ok(events)
}

/// Makes the partitions of this month and the next two.
pub(crate) async fn ensure_partitions(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("select ensure_event_partitions((now() at time zone 'utc')::date, 3)")
        .execute(connection)
        .await?;
    Ok(())
}
