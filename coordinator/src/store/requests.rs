//! `requests`: answers to mutating requests that named themselves.

use sqlx::PgConnection;

use super::StoreError;

/// The verb of this request and the answer that was given to it, if it was seen before.
pub(crate) async fn find(
    connection: &mut PgConnection,
    request_id: &str,
) -> Result<Option<(String, Vec<u8>)>, StoreError> {
    Ok(sqlx::query_as("select verb, response from requests where request_id = $1")
        .bind(request_id)
        .fetch_optional(connection)
        .await?)
}

/// Keeps the answer; false when another one was first.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    request_id: &str,
    verb: &str,
    response: &[u8],
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into requests (request_id, verb, response) values ($1, $2, $3) on conflict do nothing",
    )
    .bind(request_id)
    .bind(verb)
    .bind(response)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets answers older than seven days.
pub(crate) async fn delete_old(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let done = sqlx::query("delete from requests where created_at < now() - interval '7 days'")
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
