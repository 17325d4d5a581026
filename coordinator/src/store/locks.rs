//! `locks` and `lock_waiters`. Callers hold the lock's row for the rest of their transaction.

use sluice_proto::operations::{LockHolder, LockView, LockWaiter};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Moment, StoreError};

/// A lock row, held `for update`.
#[derive(Clone, Debug)]
pub(crate) struct LockRow {
    pub(crate) name: String,
    pub(crate) owner: Option<String>,
    pub(crate) fencing_number: i64,
}

/// Somebody in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) waiter_id: i64,
    pub(crate) workflow_id: String,
    pub(crate) step: String,
}

/// Makes sure that the rows exist and takes them for this transaction, in order of name.
pub(crate) async fn take_rows(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<Vec<LockRow>, StoreError> {
    sqlx::query(
        "insert into locks (name) select unnest($1::text[]) order by 1 on conflict do nothing",
    )
    .bind(names)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "select name, workflow_id, fencing_number from locks
          where name = any($1) order by name for update",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(LockRow {
                name: row.try_get(0)?,
                owner: row.try_get(1)?,
                fencing_number: row.try_get(2)?,
            })
        })
        .collect()
}

/// Writes owner and fencing number of a row that is held.
pub(crate) async fn set_owner(
    connection: &mut PgConnection,
    name: &str,
    owner: Option<(&str, &str)>,
    fencing_number: i64,
    at: Moment,
) -> Result<(), StoreError> {
    sqlx::query(
        "update locks set workflow_id = $2, step = $3, fencing_number = $4,
                          acquired_at = case when $2::text is not null then $5::timestamptz end
          where name = $1",
    )
    .bind(name)
    .bind(owner.map(|(workflow_id, _)| workflow_id))
    .bind(owner.map(|(_, step)| step))
    .bind(fencing_number)
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

/// The first in the queue: urgent ones before the others, then who asked first.
pub(crate) async fn first_waiter(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<Waiter>, StoreError> {
    let row = sqlx::query(
        "select waiter_id, workflow_id, step from lock_waiters
          where name = $1 order by urgent desc, waiter_id limit 1",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Waiter {
            waiter_id: row.try_get(0)?,
            workflow_id: row.try_get(1)?,
            step: row.try_get(2)?,
        })
    })
    .transpose()
}

/// A place in a queue that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewWaiter<'a> {
    pub(crate) name: &'a str,
    pub(crate) workflow_id: &'a str,
    pub(crate) step: &'a str,
    pub(crate) urgent: bool,
    pub(crate) requested_at: Moment,
    pub(crate) wait_until: Option<Moment>,
}

/// Queues; a request that queues already keeps its place.
pub(crate) async fn enqueue(
    connection: &mut PgConnection,
    waiter: NewWaiter<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into lock_waiters (name, workflow_id, step, urgent, requested_at, wait_until)
         values ($1, $2, $3, $4, $5, $6) on conflict on constraint lock_waiters_once do nothing",
    )
    .bind(waiter.name)
    .bind(waiter.workflow_id)
    .bind(waiter.step)
    .bind(waiter.urgent)
    .bind(waiter.requested_at)
    .bind(waiter.wait_until)
    .execute(connection)
    .await?;
    Ok(())
}

/// The circle that closes when `step` of `workflow_id` waits for the lock `name`: the runs that wait for
/// each other, from its holder on; none when there is none. Branches of a run wait each for itself: a lock
/// that one of them holds is given up whatever another waits for, and only a wait of the branch that holds
/// it, or of one in it, closes a circle. Who has queued must ask, so that of two that close a circle at
/// once the second sees the first; they are told apart until the end of the transaction.
pub(crate) async fn circle(
    connection: &mut PgConnection,
    workflow_id: &str,
    step: &str,
    name: &str,
) -> Result<Option<Vec<String>>, StoreError> {
    sqlx::query("select pg_advisory_xact_lock(hashtext('sluice.lock_waiters'))")
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar(
        // `held` is the branch that holds the lock, with the dot behind it; empty for the run outside of
        // its branches, and for a child, all of which is waited for.
        "with recursive waits (run, held, path) as (
             select l.workflow_id, substring(l.step from '^(.*\\.)[^.]*$'), array[l.workflow_id || ' ' || l.name]
               from locks l where l.name = $3 and l.workflow_id is not null
             union all
             select n.run, n.held, w.path || n.place
               from waits w
               cross join lateral (
                    select l.workflow_id as run, substring(l.step from '^(.*\\.)[^.]*$') as held,
                           l.workflow_id || ' ' || l.name as place
                      from lock_waiters q join locks l on l.name = q.name
                     where q.workflow_id = w.run and starts_with(q.step, coalesce(w.held, ''))
                       and l.workflow_id is not null
                    union
                    select c.child_workflow_id, null, c.child_workflow_id from child_waits c
                     where c.workflow_id = w.run and starts_with(c.step_path, coalesce(w.held, ''))) n
              where not (w.run = $1 and starts_with($2, coalesce(w.held, '')))
                and n.place <> all (w.path) and cardinality(w.path) < 64)
         select array(select split_part(p, ' ', 1) from unnest(path[:cardinality(path) - 1]) p)
           from waits where run = $1 and starts_with($2, coalesce(held, '')) limit 1",
    )
    .bind(workflow_id)
    .bind(step)
    .bind(name)
    .fetch_optional(connection)
    .await?)
}

/// Which run holds a lock.
pub(crate) async fn holder(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let found: Option<Option<String>> =
        sqlx::query_scalar("select workflow_id from locks where name = $1")
            .bind(name)
            .fetch_optional(connection)
            .await?;
    Ok(found.flatten())
}

/// Locks shown at most, and waiters of each.
const SHOWN: i64 = 1_000;

/// Locks that somebody holds or waits for; only this one, if one is named.
pub(crate) async fn list(
    connection: &mut PgConnection,
    only: Option<&str>,
) -> Result<Vec<LockView>, StoreError> {
    let rows = sqlx::query(
        "select l.name, l.fencing_number, l.workflow_id, l.step, l.acquired_at, r.status,
                r.current_step, r.template_name
           from (select name from locks where workflow_id is not null
                 union select name from lock_waiters) shown
          cross join lateral (select * from locks where name = shown.name offset 0) l
           left join runs r on r.workflow_id = l.workflow_id
          where ($2::text is null or l.name = $2)
          order by l.name limit $1",
    )
    .bind(SHOWN)
    .bind(only)
    .fetch_all(&mut *connection)
    .await?;
    let mut locks = rows.iter().map(view).collect::<Result<Vec<_>, _>>()?;
    let queued = sqlx::query(
        "select * from (
             select name, workflow_id, step, urgent, requested_at, wait_until,
                    row_number() over (partition by name order by urgent desc, waiter_id) as place,
                    count(*) over (partition by name) as waiting
               from lock_waiters where $2::text is null or name = $2) q
          where place <= $1 order by name, place",
    )
    .bind(SHOWN)
    .bind(only)
    .fetch_all(connection)
    .await?;
    for row in &queued {
        let name: String = row.try_get("name")?;
        let Some(lock) = locks.iter_mut().find(|lock| lock.name == name) else { continue };
        let count = |column: &str| -> Result<u64, StoreError> {
            Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
        };
        lock.waiters_count = count("waiting")?;
        lock.waiters.push(LockWaiter {
            workflow_id: row.try_get("workflow_id")?,
            step_id: row.try_get("step")?,
            position: u32::try_from(count("place")?).unwrap_or(u32::MAX),
            urgent: row.try_get("urgent")?,
            since: row.try_get::<Moment, _>("requested_at")?.into(),
            wait_until: row.try_get::<Option<Moment>, _>("wait_until")?.map(Into::into),
        });
    }
    Ok(locks)
}

fn view(row: &PgRow) -> Result<LockView, StoreError> {
    let holder = match row.try_get::<Option<String>, _>("workflow_id")? {
        Some(workflow_id) => Some(LockHolder {
            workflow_id,
            step_id: row.try_get::<Option<String>, _>("step")?.unwrap_or_default(),
            since: row
                .try_get::<Option<Moment>, _>("acquired_at")?
                .map(Into::into)
                .unwrap_or_default(),
            status: row.try_get("status")?,
            current_step: row.try_get("current_step")?,
            template_name: row.try_get("template_name")?,
        }),
        None => None,
    };
    Ok(LockView {
        name: row.try_get("name")?,
        holder,
        fencing_number: u64::try_from(row.try_get::<i64, _>("fencing_number")?).unwrap_or_default(),
        waiters: Vec::new(),
        waiters_count: 0,
    })
}

/// Leaves the queue.
pub(crate) async fn dequeue(
    connection: &mut PgConnection,
    waiter_id: i64,
) -> Result<(), StoreError> {
    sqlx::query("delete from lock_waiters where waiter_id = $1")
        .bind(waiter_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Leaves the queue, by what was asked for.
pub(crate) async fn withdraw(
    connection: &mut PgConnection,
    name: &str,
    workflow_id: &str,
    step: &str,
) -> Result<(), StoreError> {
    sqlx::query("delete from lock_waiters where name = $1 and workflow_id = $2 and step = $3")
        .bind(name)
        .bind(workflow_id)
        .bind(step)
        .execute(connection)
        .await?;
    Ok(())
}

/// Waits that are over: `(workflow id, step, lock)`.
pub(crate) async fn overdue_waiters(
    connection: &mut PgConnection,
) -> Result<Vec<(String, String, String)>, StoreError> {
    Ok(sqlx::query_as(
        "select workflow_id, step, name from lock_waiters where wait_until < now() limit 1000",
    )
    .fetch_all(connection)
    .await?)
}
