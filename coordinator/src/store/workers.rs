//! `workers`: who has which name.

use sluice_proto::roster::Announcement;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Moment, StoreError};

/// Who has a name.
#[derive(Clone, Debug)]
pub(crate) struct StoredWorker {
    pub(crate) name: String,
    pub(crate) worker_id: String,
    pub(crate) agents: Vec<String>,
    pub(crate) concurrency: i32,
    pub(crate) held: i32,
    pub(crate) version: String,
    pub(crate) started_at: Moment,
    pub(crate) heard_at: Moment,
    pub(crate) lost_at: Option<Moment>,
}

/// Who has `name`.
pub(crate) async fn find(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<StoredWorker>, StoreError> {
    let row = sqlx::query("select * from workers where name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Everybody, by name.
pub(crate) async fn list(connection: &mut PgConnection) -> Result<Vec<StoredWorker>, StoreError> {
    sqlx::query("select * from workers order by name limit 10000")
        .fetch_all(connection)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Workers that run an agent and were heard of since `since`, by name.
pub(crate) async fn serving(
    connection: &mut PgConnection,
    agent: &str,
    since: Moment,
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "select name from workers where $1 = any(agents) and heard_at >= $2 and lost_at is null
          order by name limit 1000",
    )
    .bind(agent)
    .bind(since)
    .fetch_all(connection)
    .await?)
}

/// The name of a process.
pub(crate) async fn name_of(
    connection: &mut PgConnection,
    worker_id: &str,
) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("select name from workers where worker_id = $1")
        .bind(worker_id)
        .fetch_optional(connection)
        .await?)
}

/// Those nobody has heard of since `before`, unless that was noticed already.
pub(crate) async fn silent(
    connection: &mut PgConnection,
    before: Moment,
) -> Result<Vec<StoredWorker>, StoreError> {
    sqlx::query("select * from workers where heard_at < $1 and lost_at is null limit 1000")
        .bind(before)
        .fetch_all(connection)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Gives the name to the worker that announces itself, if its holder is still `former` (none: nobody, or
/// this very process); whether it has the name now.
pub(crate) async fn put(
    connection: &mut PgConnection,
    announcement: &Announcement,
    former: Option<&str>,
    now: Moment,
) -> Result<bool, StoreError> {
    let agents: Vec<&str> = announcement.agents.iter().map(|agent| agent.as_str()).collect();
    let count = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let done = sqlx::query(
        "insert into workers as w (name, worker_id, agents, concurrency, held, version, started_at, heard_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (name) do update
            set worker_id = excluded.worker_id, agents = excluded.agents,
                concurrency = excluded.concurrency, held = excluded.held, version = excluded.version,
                started_at = excluded.started_at, heard_at = excluded.heard_at, lost_at = null
          where w.worker_id = excluded.worker_id or w.worker_id = $9",
    )
    .bind(announcement.name.as_str())
    .bind(announcement.worker_id.as_str())
    .bind(agents)
    .bind(count(announcement.concurrency))
    .bind(count(announcement.held))
    .bind(&announcement.version)
    .bind(Moment::from(announcement.started_at))
    .bind(now)
    .bind(former)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Frees the name of a process that has left.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    name: &str,
    worker_id: &str,
) -> Result<(), StoreError> {
    sqlx::query("delete from workers where name = $1 and worker_id = $2")
        .bind(name)
        .bind(worker_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that a worker is lost, unless it was heard of meanwhile.
pub(crate) async fn mark_lost(
    connection: &mut PgConnection,
    worker: &StoredWorker,
    now: Moment,
) -> Result<(), StoreError> {
    sqlx::query(
        "update workers set lost_at = $3 where worker_id = $1 and heard_at = $2 and lost_at is null",
    )
    .bind(&worker.worker_id)
    .bind(worker.heard_at)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets workers that have been lost for a day.
pub(crate) async fn delete_lost(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("delete from workers where lost_at < now() - interval '1 day'")
        .execute(connection)
        .await?;
    Ok(())
}

fn read(row: &PgRow) -> Result<StoredWorker, StoreError> {
    Ok(StoredWorker {
        name: row.try_get("name")?,
        worker_id: row.try_get("worker_id")?,
        agents: row.try_get("agents")?,
        concurrency: row.try_get("concurrency")?,
        held: row.try_get("held")?,
        version: row.try_get("version")?,
        started_at: row.try_get("started_at")?,
        heard_at: row.try_get("heard_at")?,
        lost_at: row.try_get("lost_at")?,
    })
}
