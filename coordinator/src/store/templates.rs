//! `templates`: the texts that runs are pinned to.

use sqlx::PgConnection;

use super::StoreError;
use super::runs::column;

/// Keeps texts that are not kept yet: `(sha256, file name, text)`.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    rows: &[(String, String, String)],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into templates (sha256, file_name, body)
         select * from unnest($1::text[], $2::text[], $3::text[]) on conflict do nothing",
    )
    .bind(column(rows, |r| r.0.clone()))
    .bind(column(rows, |r| r.1.clone()))
    .bind(column(rows, |r| r.2.clone()))
    .execute(connection)
    .await?;
    Ok(())
}

/// The text, if the hash is known. The file name that is kept with it is that of the first file it stood in.
pub(crate) async fn find(
    connection: &mut PgConnection,
    sha256: &str,
) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("select body from templates where sha256 = $1")
        .bind(sha256)
        .fetch_optional(connection)
        .await?)
}
