//! `events`: the history. Inserted and read, never changed. Reads look at `every_event`, which holds the
//! archive too: where no month of it is as old as the run, that costs nothing.

use std::collections::HashMap;

use sluice_proto::event::Event;
use sluice_proto::verify::StoredEvent;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};

use super::runs::{RunHead, column};
use super::{Moment, StoreError};

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

/// The events of these runs in order, by run; of each those behind its number. The months keep other
/// partitions out of the search.
pub(crate) async fn find_behind(
    connection: &mut PgConnection,
    months: &[time::Date],
    runs: &[(String, i64)],
) -> Result<HashMap<String, Vec<Event>>, StoreError> {
    let rows = sqlx::query(
        "select e.workflow_id, e.sequence, e.body
           from unnest($2::text[], $3::bigint[]) as u (id, behind)
           join every_event e on e.workflow_id = u.id and e.sequence > u.behind
          where e.started_month = any($1)
          order by e.workflow_id, e.sequence",
    )
    .bind(months)
    .bind(column(runs, |run| run.0.clone()))
    .bind(column(runs, |run| run.1))
    .fetch_all(connection)
    .await?;
    let mut events: HashMap<String, Vec<Event>> = HashMap::new();
    for row in rows {
        let id: String = row.try_get(0)?;
        let sequence: i64 = row.try_get(1)?;
        let event = Event::read(row.try_get::<&[u8], _>(2)?, sequence.unsigned_abs());
        let event = event.map_err(|error| StoreError::Unreadable {
            what: format!("event {sequence} of {id}"),
            cause: error.to_string(),
        })?;
        events.entry(id).or_default().push(event);
    }
    Ok(events)
}

/// Every event of one run as it is stored, in order; in whichever month without one, which is a search
/// through all of them.
pub(crate) async fn find_stored(
    connection: &mut PgConnection,
    id: &str,
    month: Option<time::Date>,
) -> Result<Vec<StoredEvent>, StoreError> {
    let query = match month {
        Some(month) => sqlx::query(
            "select sequence, body, signature from every_event
              where workflow_id = $1 and started_month = $2 order by sequence",
        )
        .bind(id)
        .bind(month),
        None => sqlx::query(
            "select sequence, body, signature from every_event where workflow_id = $1 order by sequence",
        )
        .bind(id),
    };
    query.fetch_all(connection).await?.iter().map(stored).collect()
}

/// Events that name the run and stand in another month than its own.
pub(crate) async fn find_strays(
    connection: &mut PgConnection,
    id: &str,
    month: time::Date,
) -> Result<Vec<StoredEvent>, StoreError> {
    let rows = sqlx::query(
        "with recursive months (month) as (
             select min(started_month) from every_event
             union all
             select (select min(started_month) from every_event where started_month > m.month)
               from months m where m.month is not null)
         select s.sequence, s.body, s.signature
           from months m
          cross join lateral (select sequence, body, signature from every_event
                               where started_month = m.month and workflow_id = $1) s
          where m.month <> $2 order by s.sequence",
    )
    .bind(id)
    .bind(month)
    .fetch_all(connection)
    .await?;
    rows.iter().map(stored).collect()
}

/// Whether the run has an event of this id.
pub(crate) async fn has_event(
    connection: &mut PgConnection,
    run: &RunHead,
    event_id: &str,
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "select exists (select from every_event
                         where started_month = $1 and workflow_id = $2
                           and convert_from(body, 'UTF8')::jsonb ->> 'event_id' = $3)",
    )
    .bind(run.started_month)
    .bind(run.workflow_id.as_str())
    .bind(event_id)
    .fetch_one(connection)
    .await?)
}

/// Ids of runs that have events or a row, in order. Month by month, since within one the index has them in order.
pub(crate) async fn run_ids(
    connection: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "with recursive months (month) as (
             select min(started_month) from every_event
             union all
             select (select min(started_month) from every_event where started_month > m.month)
               from months m where m.month is not null)
         select workflow_id
           from (select e.workflow_id
                   from months m
                  cross join lateral ((select distinct workflow_id from events
                                        where started_month = m.month and workflow_id > $1
                                        order by workflow_id limit $2)
                                      union all
                                      (select distinct workflow_id from events_archive
                                        where started_month = m.month and workflow_id > $1
                                        order by workflow_id limit $2)) e
                 union
                 (select workflow_id from runs where workflow_id > $1 order by workflow_id limit $2)) known
          order by workflow_id limit $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?)
}

/// Which events of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) action: Option<&'static str>,
    /// Events about this step, or about work around it.
    pub(crate) step: Option<String>,
    pub(crate) from: Option<Moment>,
    pub(crate) to: Option<Moment>,
    /// Whoever did it.
    pub(crate) actor: Option<String>,
}

/// How much of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) limit: u32,
    pub(crate) offset: u32,
    /// Only those behind this number.
    pub(crate) after: u64,
    /// The page ends before it is larger than this, yet never without an event.
    pub(crate) bytes: usize,
}

/// Whether a row is an event of the run and under the filter. A body is only read where a filter asks, so
/// that one that cannot be read does not hide the others.
macro_rules! matching {
    () => {
        "started_month = $1 and workflow_id = $2
         and ($3::text is null or convert_from(body, 'UTF8')::jsonb ->> 'action' = $3)
         and ($4::text is null
              or convert_from(body, 'UTF8')::jsonb ->> 'step_id' = $4
              or starts_with(convert_from(body, 'UTF8')::jsonb ->> 'step_id', $4 || '.'))
         and ($5::timestamptz is null
              or (convert_from(body, 'UTF8')::jsonb ->> 'timestamp')::timestamptz >= $5)
         and ($6::timestamptz is null
              or (convert_from(body, 'UTF8')::jsonb ->> 'timestamp')::timestamptz <= $6)
         and ($7::text is null
              or exists (select from (select convert_from(body, 'UTF8')::jsonb -> 'data') as e (data)
                          where $7 in (data ->> 'approver', data ->> 'rejector', data ->> 'operator',
                                       data ->> 'cancelled_by', data ->> 'suspended_by',
                                       data ->> 'continued_by', data ->> 'agent_id',
                                       data #>> '{command,requested_by}',
                                       data #>> '{forced,released_by}')))"
    };
}

/// A page of one run's events, in order.
pub(crate) async fn page(
    connection: &mut PgConnection,
    run: &RunHead,
    filter: &Filter,
    page: Page,
) -> Result<Vec<StoredEvent>, StoreError> {
    let query = sqlx::query(concat!(
        "with asked as (
             select body, signature, sequence from every_event
              where ",
        matching!(),
        " and sequence > $8
              order by sequence limit $9 offset $10),
         measured as (
             select *, sum(octet_length(body)) over (order by sequence) - octet_length(body) as before
               from asked)
         select sequence, body, signature from measured
          where before = 0 or before + octet_length(body) <= $11
          order by sequence"
    ));
    let rows = bind(query, run, filter)
        .bind(i64::try_from(page.after).unwrap_or(i64::MAX))
        .bind(i64::from(page.limit))
        .bind(i64::from(page.offset))
        .bind(i64::try_from(page.bytes).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    rows.iter().map(stored).collect()
}

/// How many events of one run there are under a filter, and the number of the last one.
pub(crate) async fn count(
    connection: &mut PgConnection,
    run: &RunHead,
    filter: &Filter,
) -> Result<(u64, u64), StoreError> {
    let query = sqlx::query(concat!(
        "select count(*), coalesce(max(sequence), 0) from every_event where ",
        matching!()
    ));
    let row = bind(query, run, filter).fetch_one(connection).await?;
    let number = |index| Ok::<_, StoreError>(row.try_get::<i64, _>(index)?.unsigned_abs());
    Ok((number(0)?, number(1)?))
}

fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    run: &'q RunHead,
    filter: &'q Filter,
) -> Query<'q, Postgres, PgArguments> {
    query
        .bind(run.started_month)
        .bind(run.workflow_id.as_str())
        .bind(filter.action)
        .bind(filter.step.as_deref())
        .bind(filter.from)
        .bind(filter.to)
        .bind(filter.actor.as_deref())
}

fn stored(row: &PgRow) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        sequence: row.try_get::<i64, _>(0)?.unsigned_abs(),
        body: row.try_get(1)?,
        signature: row.try_get(2)?,
    })
}

/// Makes the partition of a month that may be long past.
pub(crate) async fn ensure_partition(
    connection: &mut PgConnection,
    month: time::Date,
) -> Result<(), StoreError> {
    sqlx::query("select ensure_event_partitions($1, 1)").bind(month).execute(connection).await?;
    Ok(())
}

/// Makes the partitions of this month and the next two.
pub(crate) async fn ensure_partitions(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("select ensure_event_partitions((now() at time zone 'utc')::date, 3)")
        .execute(connection)
        .await?;
    Ok(())
}
