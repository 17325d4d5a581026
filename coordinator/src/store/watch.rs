//! What the watchdog asks: runs that wait for nothing, locks that are free while somebody queues.

use sqlx::PgConnection;

use super::{Moment, StoreError};

/// Open runs, untouched since `before`, that have no attempt, no approval, no timer, no child to
/// wait for and no place in a queue.
pub(crate) async fn stranded_runs(
    connection: &mut PgConnection,
    before: Moment,
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "select workflow_id from runs r
          where completed_at is null and updated_at < $1
            -- A paused run waits for a person: its approval, or the operator who holds it up.
            and status <> 'paused'
            and not exists (select from attempts a where a.workflow_id = r.workflow_id)
            and not exists (select from approvals p where p.workflow_id = r.workflow_id and p.status = 'pending')
            and not exists (select from lock_waiters w where w.workflow_id = r.workflow_id)
            and not exists (select from child_waits c where c.workflow_id = r.workflow_id)
            and not exists (select from timers t
                             where t.workflow_id = r.workflow_id and t.step_path <> 'workflow.deadline')
          limit 100",
    )
    .bind(before)
    .fetch_all(connection)
    .await?)
}

/// Running runs that nothing has happened to since `before`, and that nobody is at work on: no worker holds
/// an attempt, none is still to come, nobody has to decide anything, and no queue, no child and no moment is
/// waited for.
pub(crate) async fn abandoned_runs(
    connection: &mut PgConnection,
    before: Moment,
    now: Moment,
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "select workflow_id from runs r
          where completed_at is null and status = 'running' and updated_at < $1
            and not exists (select from attempts a
                             where a.workflow_id = r.workflow_id and (a.lease_until >= $2 or a.due_at > $2))
            and not exists (select from approvals p where p.workflow_id = r.workflow_id and p.status = 'pending')
            and not exists (select from lock_waiters w where w.workflow_id = r.workflow_id)
            and not exists (select from child_waits c where c.workflow_id = r.workflow_id)
            and not exists (select from timers t
                             where t.workflow_id = r.workflow_id and t.step_path <> 'workflow.deadline')
          limit 100",
    )
    .bind(before)
    .bind(now)
    .fetch_all(connection)
    .await?)
}

/// Locks that nobody holds while others queue: name, and the run that is first.
pub(crate) async fn idle_locks(
    connection: &mut PgConnection,
) -> Result<Vec<(String, String)>, StoreError> {
    Ok(sqlx::query_as(
        // Locks are looked up one by one: there are many of them, and few queues.
        "select distinct on (w.name) w.name, w.workflow_id
           from lock_waiters w
          cross join lateral (select from locks where name = w.name and workflow_id is null offset 0) l
          order by w.name, w.urgent desc, w.waiter_id limit 100",
    )
    .fetch_all(connection)
    .await?)
}

/// Whether the database answers, and the durability in force: `(fsync, synchronous_commit)`.
pub(crate) async fn durability(
    connection: &mut PgConnection,
) -> Result<(String, String), StoreError> {
    Ok(sqlx::query_as("select current_setting('fsync'), current_setting('synchronous_commit')")
        .fetch_one(connection)
        .await?)
}
