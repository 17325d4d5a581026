//! `locks` and `lock_waiters`. Callers hold the lock's row for the rest of their transaction.

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
                          acquired_at = case when $2::text is null then null else $5 end
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

/// The first in the queue.
pub(crate) async fn first_waiter(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<Waiter>, StoreError> {
    let row = sqlx::query(
        "select waiter_id, workflow_id, step from lock_waiters
          where name = $1 order by waiter_id limit 1",
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

/// Queues; a request that queues already keeps its place.
pub(crate) async fn enqueue(
    connection: &mut PgConnection,
    name: &str,
    workflow_id: &str,
    step: &str,
    requested_at: Moment,
    wait_until: Option<Moment>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into lock_waiters (name, workflow_id, step, requested_at, wait_until)
         values ($1, $2, $3, $4, $5) on conflict on constraint lock_waiters_once do nothing",
    )
    .bind(name)
    .bind(workflow_id)
    .bind(step)
    .bind(requested_at)
    .bind(wait_until)
    .execute(connection)
    .await?;
    Ok(())
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
