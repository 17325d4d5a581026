//! What sweeps, rosters and views look for among the outstanding attempts.

use sqlx::PgConnection;

use super::{StoredAttempt, bigint, read_all};
use crate::store::{Moment, StoreError};

/// Most attempts that one sweep looks at.
const SWEEP_LIMIT: i64 = 2_000;

/// Attempts about which the clock alone may say something: leases that ran out, executions and
/// queues that took too long, publishes that were never marked.
pub(crate) async fn find_overdue(
    connection: &mut PgConnection,
    now: Moment,
    unmarked_before: Moment,
) -> Result<Vec<StoredAttempt>, StoreError> {
    let query = sqlx::query(
        "select * from attempts
          where due_at <= $1
            and (lease_until < $1
                 or leased_at + make_interval(secs => (timeout_ms + lease_ms) / 1000.0) < $1
                 or (lease_until is null and stream_sequence is null and due_at < $2)
                 or (lease_until is null
                     and due_at + make_interval(secs => queue_timeout_ms / 1000.0) < $1))
          limit $3",
    )
    .bind(now)
    .bind(unmarked_before)
    .bind(SWEEP_LIMIT);
    read_all(&query.fetch_all(connection).await?)
}

/// Whether any worker has anything.
pub(crate) async fn any_leased(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let leased = "select exists (select from attempts where lease_until is not null)";
    Ok(sqlx::query_scalar(leased).fetch_one(connection).await?)
}

/// Lanes with attempts that were published and that no worker has taken: `(agent, urgent)`.
pub(crate) async fn queued_lanes(
    connection: &mut PgConnection,
) -> Result<Vec<(String, bool)>, StoreError> {
    Ok(sqlx::query_as(
        "select distinct agent, urgent from attempts
          where lease_until is null and stream_sequence is not null",
    )
    .fetch_all(connection)
    .await?)
}

/// What a worker holds by name.
pub(crate) async fn held_by(
    connection: &mut PgConnection,
    worker_id: &str,
) -> Result<Vec<StoredAttempt>, StoreError> {
    let query =
        sqlx::query("select * from attempts where worker_id = $1 and lease_until is not null")
            .bind(worker_id);
    read_all(&query.fetch_all(connection).await?)
}

/// What a run has outstanding.
pub(crate) async fn of_run(
    connection: &mut PgConnection,
    workflow_id: &str,
) -> Result<Vec<StoredAttempt>, StoreError> {
    let query = sqlx::query("select * from attempts where workflow_id = $1").bind(workflow_id);
    read_all(&query.fetch_all(connection).await?)
}

/// How many queued attempts of a lane come before this place in the stream.
pub(crate) async fn ahead(
    connection: &mut PgConnection,
    agent: &str,
    urgent: bool,
    sequence: u64,
) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "select count(*) from attempts
          where agent = $1 and urgent = $2 and lease_until is null and stream_sequence < $3",
    )
    .bind(agent)
    .bind(urgent)
    .bind(bigint(sequence))
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Attempts that somebody holds, oldest first.
pub(crate) async fn leased(
    connection: &mut PgConnection,
) -> Result<Vec<StoredAttempt>, StoreError> {
    let query = sqlx::query(
        "select * from attempts where lease_until is not null order by leased_at limit 5000",
    );
    read_all(&query.fetch_all(connection).await?)
}

/// How far a lane was delivered at some moment.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) agent: String,
    pub(crate) urgent: bool,
    pub(crate) stream_created_micros: i64,
    pub(crate) sequence: u64,
}

/// Attempts whose command was delivered by then and of which nobody was heard since.
pub(crate) async fn find_unheard(
    connection: &mut PgConnection,
    lane: &Delivered,
) -> Result<Vec<StoredAttempt>, StoreError> {
    let query = sqlx::query(
        "select * from attempts
          where agent = $1 and urgent = $2 and lease_until is null
            and stream_created_micros = $3 and stream_sequence <= $4",
    )
    .bind(&lane.agent)
    .bind(lane.urgent)
    .bind(lane.stream_created_micros)
    .bind(bigint(lane.sequence));
    read_all(&query.fetch_all(connection).await?)
}

/// The database's clock, to compare with `published_at`.
pub(crate) async fn database_now(connection: &mut PgConnection) -> Result<Moment, StoreError> {
    Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(connection).await?)
}

/// What the sweeper knows of a lane, for [`find_undeliverable`].
#[derive(Clone, Debug)]
pub(crate) struct LaneQuery {
    pub(crate) agent: String,
    pub(crate) urgent: bool,
    pub(crate) marked_before: Moment,
    pub(crate) stream_created_micros: Option<i64>,
    pub(crate) last_sequence: u64,
    pub(crate) ack_floor: u64,
    pub(crate) is_idle: bool,
}

/// Queued attempts of one lane, marked before the lane was looked at, whose message JetStream can no
/// longer deliver.
pub(crate) async fn find_undeliverable(
    connection: &mut PgConnection,
    lane: &LaneQuery,
) -> Result<Vec<StoredAttempt>, StoreError> {
    let query = sqlx::query(
        "select * from attempts
          where agent = $1 and urgent = $2 and lease_until is null and published_at < $3
            and (stream_created_micros is distinct from $4 or stream_sequence > $5
                 or stream_sequence <= $6 or $7)
          limit $8",
    )
    .bind(&lane.agent)
    .bind(lane.urgent)
    .bind(lane.marked_before)
    .bind(lane.stream_created_micros)
    .bind(bigint(lane.last_sequence))
    .bind(bigint(lane.ack_floor))
    .bind(lane.is_idle)
    .bind(SWEEP_LIMIT);
    read_all(&query.fetch_all(connection).await?)
}
