//! `attempts`: outstanding executions.

mod find;

use sluice_engine::attempt::{AttemptRow, Published};
use sluice_proto::ids::CommandId;
use sluice_proto::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

pub(crate) use find::{
    Delivered, LaneQuery, ahead, any_leased, database_now, find_overdue, find_undeliverable,
    find_unheard, held_by, leased, of_run, queued_lanes,
};

use super::runs::column;
use super::{Moment, StoreError};

/// An outstanding attempt with its name.
#[derive(Clone, Debug)]
pub(crate) struct StoredAttempt {
    pub(crate) id: CommandId,
    pub(crate) agent: String,
    pub(crate) urgent: bool,
    pub(crate) row: AttemptRow,
}

/// Names an attempt in one word a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AttemptKey {
    pub(crate) workflow_id: String,
    pub(crate) step_path: String,
    pub(crate) visit: i32,
    pub(crate) attempt: i32,
}

impl From<&CommandId> for AttemptKey {
    fn from(id: &CommandId) -> Self {
        // Both are far below 2^31: the engine bounds visits and retries.
        let small = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        Self {
            workflow_id: id.workflow_id.to_string(),
            step_path: id.step_path.clone(),
            visit: small(id.visit),
            attempt: small(id.attempt),
        }
    }
}

macro_rules! bind_keys {
    ($query:expr, $keys:expr) => {
        $query
            .bind(column($keys, |k| k.workflow_id.clone()))
            .bind(column($keys, |k| k.step_path.clone()))
            .bind(column($keys, |k| k.visit))
            .bind(column($keys, |k| k.attempt))
    };
}

pub(crate) async fn insert(
    connection: &mut PgConnection,
    rows: &[StoredAttempt],
) -> Result<(), StoreError> {
    let keys: Vec<AttemptKey> = rows.iter().map(|stored| AttemptKey::from(&stored.id)).collect();
    let query = sqlx::query(
        "insert into attempts (workflow_id, step_path, visit, attempt, agent, urgent, claim,
                               idempotent, timeout_ms, queue_timeout_ms, lease_ms, due_at)
         select * from unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::text[], $6::boolean[],
                              $7::boolean[], $8::boolean[], $9::bigint[], $10::bigint[], $11::bigint[],
                              $12::timestamptz[])
         on conflict do nothing",
    );
    bind_keys!(query, &keys)
        .bind(column(rows, |s| s.agent.clone()))
        .bind(column(rows, |s| s.urgent))
        .bind(column(rows, |s| s.row.claim))
        .bind(column(rows, |s| s.row.idempotent))
        .bind(column(rows, |s| bigint(s.row.timeout_ms)))
        .bind(column(rows, |s| s.row.queue_timeout_ms.map(bigint)))
        .bind(column(rows, |s| bigint(s.row.lease_ms)))
        .bind(column(rows, |s| Moment::from(s.row.due_at)))
        .execute(connection)
        .await?;
    Ok(())
}

fn bigint(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The rows of these attempts that are outstanding.
pub(crate) async fn find(
    connection: &mut PgConnection,
    keys: &[AttemptKey],
) -> Result<Vec<StoredAttempt>, StoreError> {
    let query = sqlx::query(
        "select a.* from attempts a
           join unnest($1::text[], $2::text[], $3::int[], $4::int[]) as k (w, s, v, n)
             on a.workflow_id = k.w and a.step_path = k.s and a.visit = k.v and a.attempt = k.n",
    );
    read_all(&bind_keys!(query, keys).fetch_all(connection).await?)
}

/// The same, taken for this transaction in order of their keys.
pub(crate) async fn find_for_update(
    connection: &mut PgConnection,
    keys: &[AttemptKey],
) -> Result<Vec<StoredAttempt>, StoreError> {
    let query = sqlx::query(
        "select a.* from attempts a
           join unnest($1::text[], $2::text[], $3::int[], $4::int[]) as k (w, s, v, n)
             on a.workflow_id = k.w and a.step_path = k.s and a.visit = k.v and a.attempt = k.n
          order by a.workflow_id, a.step_path, a.visit, a.attempt
            for update of a",
    );
    read_all(&bind_keys!(query, keys).fetch_all(connection).await?)
}

/// The same without those that another transaction is at: waits for nobody, so that nobody waits in a
/// circle.
pub(crate) async fn find_free_for_update(
    connection: &mut PgConnection,
    keys: &[AttemptKey],
) -> Result<Vec<StoredAttempt>, StoreError> {
    let query = sqlx::query(
        "select a.* from attempts a
           join unnest($1::text[], $2::text[], $3::int[], $4::int[]) as k (w, s, v, n)
             on a.workflow_id = k.w and a.step_path = k.s and a.visit = k.v and a.attempt = k.n
            for update of a skip locked",
    );
    read_all(&bind_keys!(query, keys).fetch_all(connection).await?)
}

/// What must still be so for a settled attempt to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unchanged {
    /// Nothing: it goes whatever became of it.
    Anything,
    /// Its fence: a result came under it.
    Fence(u64),
    /// Its fence and its lease: it was given up, and a heartbeat since would mean that it is not lost.
    Lease(u64, Option<Timestamp>),
}

impl Unchanged {
    fn fence(self) -> Option<i64> {
        match self {
            Self::Anything => None,
            Self::Fence(fence) | Self::Lease(fence, _) => Some(bigint(fence)),
        }
    }
}

/// Deletes settled attempts that are unchanged; how many were.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    rows: &[(AttemptKey, Unchanged)],
) -> Result<u64, StoreError> {
    let keys: Vec<AttemptKey> = rows.iter().map(|(key, _)| key.clone()).collect();
    let query = sqlx::query(
        "delete from attempts a
          using unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::bigint[], $6::boolean[],
                       $7::timestamptz[]) as k (w, s, v, n, fence, check_lease, lease_until)
          where a.workflow_id = k.w and a.step_path = k.s and a.visit = k.v and a.attempt = k.n
            and (k.fence is null or a.fence = k.fence)
            and (not k.check_lease or a.lease_until is not distinct from k.lease_until)",
    );
    let lease = |unchanged: &Unchanged| match unchanged {
        Unchanged::Lease(_, lease_until) => lease_until.map(Moment::from),
        _ => None,
    };
    let done = bind_keys!(query, &keys)
        .bind(column(rows, |(_, unchanged)| unchanged.fence()))
        .bind(column(rows, |(_, unchanged)| matches!(unchanged, Unchanged::Lease(..))))
        .bind(column(rows, |(_, unchanged)| lease(unchanged)))
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// Deletes attempts whatever became of them; those that were still there come back, with the agent and the
/// fence in force.
pub(crate) async fn take_out(
    connection: &mut PgConnection,
    rows: &[(AttemptKey, Unchanged)],
) -> Result<Vec<Dropped>, StoreError> {
    let keys: Vec<AttemptKey> = rows.iter().map(|(key, _)| key.clone()).collect();
    let query = sqlx::query(
        "delete from attempts a
          using unnest($1::text[], $2::text[], $3::int[], $4::int[]) as k (w, s, v, n)
          where a.workflow_id = k.w and a.step_path = k.s and a.visit = k.v and a.attempt = k.n
         returning a.workflow_id, a.step_path, a.visit, a.attempt, a.agent, a.fence",
    );
    let rows = bind_keys!(query, &keys).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let fence: i64 = row.try_get("fence")?;
            let fence = u64::try_from(fence).unwrap_or_default();
            Ok(Dropped { id: read_id(row)?, agent: row.try_get("agent")?, fence })
        })
        .collect()
}

/// An attempt that nobody waits for any more, as it stood when its row was deleted.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) id: CommandId,
    pub(crate) agent: String,
    pub(crate) fence: u64,
}

/// Writes lease, fence and dispatch of rows whose fence, dispatch and lease are still those that were
/// read; the ids of those that were.
pub(crate) async fn update(
    connection: &mut PgConnection,
    changes: &[(StoredAttempt, AttemptRow)],
) -> Result<Vec<CommandId>, StoreError> {
    let keys: Vec<AttemptKey> = changes.iter().map(|(old, _)| AttemptKey::from(&old.id)).collect();
    let dispatch = |row: &AttemptRow| i32::try_from(row.dispatch).unwrap_or(i32::MAX);
    let lost = |row: &AttemptRow| i32::try_from(row.lost).unwrap_or(i32::MAX);
    let query = sqlx::query(
        "update attempts a
            set fence = u.fence, dispatch = u.dispatch, lost = u.lost, due_at = u.due_at,
                worker_id = u.worker_id,
                claimed = u.claimed, leased_at = u.leased_at, lease_until = u.lease_until,
                stream_created_micros = u.created, stream_sequence = u.sequence,
                published_at = case when u.sequence is null then null else a.published_at end
           from unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::bigint[], $6::int[],
                       $7::bigint[], $8::int[], $9::int[], $10::text[], $11::boolean[],
                       $12::timestamptz[], $13::timestamptz[], $14::bigint[], $15::bigint[],
                       $16::timestamptz[], $17::timestamptz[])
                as u (w, s, v, n, old_fence, old_dispatch, fence, dispatch, lost, worker_id, claimed,
                      leased_at, lease_until, created, sequence, old_lease_until, due_at)
          where a.workflow_id = u.w and a.step_path = u.s and a.visit = u.v and a.attempt = u.n
            and a.fence = u.old_fence and a.dispatch = u.old_dispatch
            and a.lease_until is not distinct from u.old_lease_until
         returning a.workflow_id, a.step_path, a.visit, a.attempt",
    );
    let rows = bind_keys!(query, &keys)
        .bind(column(changes, |(old, _)| bigint(old.row.fence)))
        .bind(column(changes, |(old, _)| dispatch(&old.row)))
        .bind(column(changes, |(_, new)| bigint(new.fence)))
        .bind(column(changes, |(_, new)| dispatch(new)))
        .bind(column(changes, |(_, new)| lost(new)))
        .bind(column(changes, |(_, new)| new.worker.clone()))
        .bind(column(changes, |(_, new)| new.claimed))
        .bind(column(changes, |(_, new)| new.leased_at.map(Moment::from)))
        .bind(column(changes, |(_, new)| new.lease_until.map(Moment::from)))
        .bind(column(changes, |(_, new)| new.published.map(|p| p.stream_created_micros)))
        .bind(column(changes, |(_, new)| new.published.map(|p| bigint(p.sequence))))
        .bind(column(changes, |(old, _)| old.row.lease_until.map(Moment::from)))
        .bind(column(changes, |(_, new)| Moment::from(new.due_at)))
        .fetch_all(connection)
        .await?;
    rows.iter().map(read_id).collect()
}

/// Notes where the messages of these dispatches are. Attempts that are settled by now stay settled, and
/// those that another transaction is at stay unmarked: they have been taken, or a sweep marks them.
pub(crate) async fn mark_published(
    connection: &mut PgConnection,
    rows: &[(AttemptKey, u32, Published)],
) -> Result<(), StoreError> {
    let keys: Vec<AttemptKey> = rows.iter().map(|(key, ..)| key.clone()).collect();
    let query = sqlx::query(
        "with free as materialized (
             select a.workflow_id, a.step_path, a.visit, a.attempt, u.created, u.sequence
               from attempts a
               join unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::int[], $6::bigint[], $7::bigint[])
                    as u (w, s, v, n, dispatch, created, sequence)
                 on a.workflow_id = u.w and a.step_path = u.s and a.visit = u.v and a.attempt = u.n
                and a.dispatch = u.dispatch
                for update of a skip locked)
         update attempts a
            set stream_created_micros = f.created, stream_sequence = f.sequence, published_at = now()
           from free f
          where a.workflow_id = f.workflow_id and a.step_path = f.step_path
            and a.visit = f.visit and a.attempt = f.attempt",
    );
    bind_keys!(query, &keys)
        .bind(column(rows, |(_, dispatch, _)| i32::try_from(*dispatch).unwrap_or(i32::MAX)))
        .bind(column(rows, |(.., published)| published.stream_created_micros))
        .bind(column(rows, |(.., published)| bigint(published.sequence)))
        .execute(connection)
        .await?;
    Ok(())
}

fn read_id(row: &PgRow) -> Result<CommandId, StoreError> {
    let unreadable = |cause: String| StoreError::Unreadable { what: "attempt".to_owned(), cause };
    let workflow_id: String = row.try_get("workflow_id")?;
    let positive = |n: i32| u32::try_from(n).map_err(|error| unreadable(error.to_string()));
    Ok(CommandId {
        workflow_id: workflow_id.parse().map_err(|error| unreadable(format!("{error}")))?,
        step_path: row.try_get("step_path")?,
        visit: positive(row.try_get("visit")?)?,
        attempt: positive(row.try_get("attempt")?)?,
    })
}

fn read_all(rows: &[PgRow]) -> Result<Vec<StoredAttempt>, StoreError> {
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<StoredAttempt, StoreError> {
    let unsigned = |name: &str| -> Result<u64, StoreError> {
        let value: i64 = row.try_get(name)?;
        u64::try_from(value).map_err(|error| StoreError::Unreadable {
            what: format!("attempts.{name}"),
            cause: error.to_string(),
        })
    };
    let small = |name: &str| -> Result<u32, StoreError> {
        let value: i32 = row.try_get(name)?;
        Ok(u32::try_from(value).unwrap_or_default())
    };
    let moment = |name: &str| -> Result<Option<Timestamp>, StoreError> {
        Ok(row.try_get::<Option<Moment>, _>(name)?.map(Timestamp::from))
    };
    let sequence: Option<i64> = row.try_get("stream_sequence")?;
    let created: Option<i64> = row.try_get("stream_created_micros")?;
    let queue_timeout_ms: Option<i64> = row.try_get("queue_timeout_ms")?;
    Ok(StoredAttempt {
        id: read_id(row)?,
        agent: row.try_get("agent")?,
        urgent: row.try_get("urgent")?,
        row: AttemptRow {
            fence: unsigned("fence")?,
            dispatch: small("dispatch")?,
            lost: small("lost")?,
            claim: row.try_get("claim")?,
            idempotent: row.try_get("idempotent")?,
            worker: row.try_get("worker_id")?,
            claimed: row.try_get("claimed")?,
            leased_at: moment("leased_at")?,
            lease_until: moment("lease_until")?,
            published: sequence.zip(created).map(|(sequence, created)| Published {
                stream_created_micros: created,
                sequence: u64::try_from(sequence).unwrap_or_default(),
            }),
            due_at: moment("due_at")?.unwrap_or_default(),
            lease_ms: unsigned("lease_ms")?,
            timeout_ms: unsigned("timeout_ms")?,
            queue_timeout_ms: queue_timeout_ms.and_then(|ms| u64::try_from(ms).ok()),
        },
    })
}
