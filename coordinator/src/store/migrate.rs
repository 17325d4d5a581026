//! Brings the schema up to date. Safe to run from several processes at once.

use std::borrow::Cow;
use std::str::FromStr;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, SqlSafeStr};

use super::StoreError;

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../../migrations/0001_first.sql")),
    (2, "timers", include_str!("../../migrations/0002_timers.sql")),
    (10, "workers", include_str!("../../migrations/0010_workers.sql")),
    (11, "locks", include_str!("../../migrations/0011_locks.sql")),
    (12, "dead_letters", include_str!("../../migrations/0012_dead_letters.sql")),
    (20, "breakers", include_str!("../../migrations/0020_breakers.sql")),
    (30, "snapshots", include_str!("../../migrations/0030_snapshots.sql")),
    (31, "lessons", include_str!("../../migrations/0031_lessons.sql")),
    (32, "checkpoints", include_str!("../../migrations/0032_checkpoints.sql")),
    (33, "child_waits", include_str!("../../migrations/0033_child_waits.sql")),
    (40, "archive", include_str!("../../migrations/0040_archive.sql")),
    (50, "workflow_state", include_str!("../../migrations/0050_workflow_state.sql")),
    (51, "comments", include_str!("../../migrations/0051_comments.sql")),
    (52, "views", include_str!("../../migrations/0052_views.sql")),
    (53, "hardening", include_str!("../../migrations/0053_hardening.sql")),
];
/// Each gives the run-time role what it needs of the tables of one migration.
const GRANTS: &[&str] = &[
    "select grant_run_time($1::name)",
    "select grant_run_time_timers($1::name)",
    "select grant_operations($1::name)",
    "select grant_run_time_breakers($1::name)",
    "select grant_run_time_snapshots($1::name)",
    "select grant_run_time_lessons($1::name)",
    "select grant_run_time_checkpoints($1::name)",
    "select grant_run_time_child_waits($1::name)",
    "select grant_run_time_archive($1::name)",
];

/// Applies what is missing as the owner, then grants the run-time role what it needs.
pub(crate) async fn migrate(owner_url: &str, run_time_url: &str) -> Result<(), StoreError> {
    let mut connection = PgConnection::connect(owner_url).await?;
    let migrations = MIGRATIONS.iter().map(|&(version, name, sql)| {
        let sql = sql.into_sql_str();
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    migrator.run_direct(None, &mut connection, false).await.map_err(|error| {
        StoreError::Unreadable { what: "schema".to_owned(), cause: error.to_string() }
    })?;
    let run_time = PgConnectOptions::from_str(run_time_url)?;
    let mut transaction = connection.begin().await?;
    // PostgreSQL refuses a grant on a table that another coordinator is granting on, or making partitions
    // of, at the same moment; the latter takes this lock.
    sqlx::query("select pg_advisory_xact_lock(hashtext('ensure_event_partitions'))")
        .execute(&mut *transaction)
        .await?;
    for grant in GRANTS.iter().copied() {
        sqlx::query(grant).bind(run_time.get_username()).execute(&mut *transaction).await?;
    }
    sqlx::query("select renew_reading()").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(connection.close().await?)
}
