//! `child_waits`: ends of runs that other runs wait for.

use sqlx::PgConnection;

use super::StoreError;

/// Most waits that one sweep looks at.
const SWEEP_LIMIT: i64 = 1_000;

/// Notes that a step waits for a child, unless it is noted already.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    workflow_id: &str,
    step: &str,
    visit: u32,
    child: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into child_waits (workflow_id, step_path, visit, child_workflow_id)
         values ($1, $2, $3, $4) on conflict do nothing",
    )
    .bind(workflow_id)
    .bind(step)
    .bind(i32::try_from(visit).unwrap_or(i32::MAX))
    .bind(child)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets that somebody waits for this child.
pub(crate) async fn delete(connection: &mut PgConnection, child: &str) -> Result<(), StoreError> {
    sqlx::query("delete from child_waits where child_workflow_id = $1")
        .bind(child)
        .execute(connection)
        .await?;
    Ok(())
}

/// Waits for children that have ended, or that are not there: `(workflow id, child)`.
pub(crate) async fn over(
    connection: &mut PgConnection,
) -> Result<Vec<(String, String)>, StoreError> {
    Ok(sqlx::query_as(
        // Runs are looked up one by one: there are many of them, and few that are waited for.
        "select w.workflow_id, w.child_workflow_id
           from child_waits w
           left join lateral (select workflow_id, completed_at from runs
                               where workflow_id = w.child_workflow_id offset 0) c on true
          where c.workflow_id is null or c.completed_at is not null
          limit $1",
    )
    .bind(SWEEP_LIMIT)
    .fetch_all(connection)
    .await?)
}
