//! The only SQL. One file a table; each function is one statement, static text, binds only.

pub(crate) mod approvals;
pub(crate) mod archive;
pub(crate) mod attempts;
pub(crate) mod breakers;
pub(crate) mod checkpoints;
pub(crate) mod child_waits;
pub(crate) mod dead_letters;
pub(crate) mod events;
pub(crate) mod lessons;
pub(crate) mod listing;
pub(crate) mod locks;
mod migrate;
pub(crate) mod outstanding;
pub(crate) mod requests;
pub(crate) mod runs;
pub(crate) mod snapshots;
pub(crate) mod templates;
pub(crate) mod timers;
pub(crate) mod watch;
pub(crate) mod workers;

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use time::OffsetDateTime;

pub(crate) use migrate::migrate;

/// A moment as PostgreSQL takes it.
pub(crate) type Moment = OffsetDateTime;

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or the connection broke.
    #[error("PostgreSQL is away: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// Another writer was first; read again and retry.
    #[error("another writer was first")]
    Conflict,
    /// It refuses this very data: retrying changes nothing.
    #[error("PostgreSQL refuses the data: {0}")]
    Data(#[source] sqlx::Error),
    /// Anything else.
    #[error("PostgreSQL failed: {0}")]
    Other(#[source] sqlx::Error),
    /// What is stored cannot be read.
    #[error("stored {what} cannot be read: {cause}")]
    Unreadable {
        /// What it is.
        what: String,
        /// Why.
        cause: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|db| db.code()).map(|code| code.to_string());
        match (&error, code.as_deref()) {
            // serialization_failure, deadlock_detected, unique_violation by a concurrent insert
            (_, Some("40001" | "40P01")) => Self::Conflict,
            (_, Some(code)) if code.starts_with("22") || code.starts_with("23") => {
                Self::Data(error)
            }
            // operator_intervention (shutdown, start-up), connection exceptions, too many clients
            (_, Some(code))
                if code.starts_with("57P") || code.starts_with("08") || code == "53300" =>
            {
                Self::Unavailable(error)
            }
            (sqlx::Error::Io(_) | sqlx::Error::Tls(_), _)
            | (
                sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed,
                _,
            )
            | (sqlx::Error::Protocol(_), _) => Self::Unavailable(error),
            _ => Self::Other(error),
        }
    }
}

/// Longest wait for a connection.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Host and port of a database, without credentials.
pub(crate) fn address(url: &str) -> String {
    PgConnectOptions::from_str(url).map_or_else(
        |_| "an address that cannot be read".to_owned(),
        |options| format!("{}:{}", options.get_host(), options.get_port()),
    )
}

/// Opens a pool; the first connection is made at once, so that a wrong address is told at start.
pub(crate) async fn connect(url: &str, connections: u32) -> Result<PgPool, StoreError> {
    let options = PgConnectOptions::from_str(url)?
        .application_name("sluice")
        // A statement that hangs is a defect or a lost server; either way it must end.
        .options([("statement_timeout", "30s"), ("idle_in_transaction_session_timeout", "30s")]);
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await?)
}

/// A transaction in which everything is read as of one moment.
pub(crate) async fn begin_snapshot(
    pool: &PgPool,
) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, StoreError> {
    Ok(pool.begin_with("begin isolation level repeatable read, read only").await?)
}
