//! What is outstanding for one run in the tables around it, to be compared with what its events say.

use sqlx::PgConnection;

use super::StoreError;

/// Rows of one run, each as a name in text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outstanding {
    /// `step:visit:attempt`.
    pub(crate) attempts: Vec<String>,
    /// `step:visit`.
    pub(crate) timers: Vec<String>,
    /// Name and fencing number.
    pub(crate) locks: Vec<(String, i64)>,
    /// Id and status.
    pub(crate) approvals: Vec<(String, String)>,
}

pub(crate) async fn find(
    connection: &mut PgConnection,
    id: &str,
) -> Result<Outstanding, StoreError> {
    let attempts = sqlx::query_scalar(
        "select step_path || ':' || visit || ':' || attempt from attempts
          where workflow_id = $1 order by 1",
    )
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    let timers = sqlx::query_scalar(
        "select step_path || ':' || visit from timers where workflow_id = $1 order by 1",
    )
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    let locks = sqlx::query_as(
        "select name, fencing_number from locks where workflow_id = $1 order by name",
    )
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    let approvals = sqlx::query_as(
        "select approval_id, status from approvals where workflow_id = $1 order by approval_id",
    )
    .bind(id)
    .fetch_all(connection)
    .await?;
    Ok(Outstanding { attempts, timers, locks, approvals })
}
