//! `dead_letters`: messages that could not be processed.

use sqlx::PgConnection;

use super::StoreError;

pub(crate) async fn insert(
    connection: &mut PgConnection,
    source: &str,
    subject: &str,
    reason: &str,
    payload: &[u8],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into dead_letters (source, subject, reason, payload) values ($1, $2, $3, $4)",
    )
    .bind(source)
    .bind(subject)
    .bind(reason)
    .bind(payload)
    .execute(connection)
    .await?;
    Ok(())
}
