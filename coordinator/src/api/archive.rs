//! `workflow.archive` and `workflow.ended`: runs that have ended, and their way into the archive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sluice_proto::api::{
    ArchiveRequest, ArchiveResponse, EndedCursor, EndedRequest, EndedResponse, EndedRun,
};
use sluice_proto::error::ApiError;
use time::OffsetDateTime;

use super::{Answer, decode, encode, text};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::store::{Moment, StoreError, archive};

/// Runs of one batch, which is one transaction.
const BATCH_RUNS: i32 = 200;
/// Their events, unless one run has more.
const BATCH_EVENTS: i64 = 5_000;
/// No batch begins after this: whoever asked hears of those that are done, and asks again.
const BUDGET: Duration = Duration::from_secs(3);
/// Runs in one answer; their ids and names are bounded, so they fit into a message.
const PAGE: usize = 1_000;
/// As far back as a request may look, days.
const MAX_DAYS: u32 = 36_500;

pub(super) async fn archive(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: ArchiveRequest = decode(body)?;
    let ended_before = days_ago("older_than_days", request.older_than_days)?;
    let actor = text("requested_by", request.requested_by)?.unwrap_or_else(|| "unknown".to_owned());
    let moved = move_batches(shared, ended_before, &actor).await;
    encode(&moved.map_err(|error| api_error(&error))?)
}

/// Batches until nothing is left or time is up. Each stands by itself: what one has moved stays moved.
async fn move_batches(
    shared: &Shared,
    ended_before: Moment,
    actor: &str,
) -> Result<ArchiveResponse, StoreError> {
    let began = Instant::now();
    let mut connection = shared.pool.acquire().await?;
    let mut done = ArchiveResponse::default();
    loop {
        archive::ensure_partitions(&mut connection, ended_before, BATCH_RUNS).await?;
        let (runs, events) =
            archive::move_ended(&mut connection, ended_before, BATCH_RUNS, BATCH_EVENTS, actor)
                .await?;
        done.runs += runs;
        done.events += events;
        done.more = runs > 0;
        if !done.more || began.elapsed() > BUDGET {
            break;
        }
    }
    if done.runs > 0 {
        tracing::info!(runs = done.runs, events = done.events, actor, "runs went into the archive");
    }
    Ok(done)
}

pub(super) async fn ended(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: EndedRequest = decode(body)?;
    let since = days_ago("days", request.days)?;
    let after = match request.after {
        Some(after) if after.workflow_id.contains('\0') => {
            return Err(ApiError::field("after", "names no run"));
        }
        Some(after) => (after.at.into(), after.workflow_id),
        None => (since, String::new()),
    };
    let listed = list(shared, request.archived, after).await;
    let mut workflows = listed.map_err(|error| api_error(&error))?;
    let is_last = workflows.len() <= PAGE;
    workflows.truncate(PAGE);
    let next = workflows.last().filter(|_| !is_last).map(|last| cursor(last, request.archived));
    encode(&EndedResponse { workflows, next })
}

/// One more than a page, which says whether another one follows.
async fn list(
    shared: &Shared,
    archived: bool,
    (at, id): (Moment, String),
) -> Result<Vec<EndedRun>, StoreError> {
    let mut connection = shared.pool.acquire().await?;
    let limit = PAGE as i64 + 1;
    match archived {
        true => archive::archived_since(&mut connection, at, &id, limit).await,
        false => archive::ended_since(&mut connection, at, &id, limit).await,
    }
}

fn cursor(run: &EndedRun, archived: bool) -> EndedCursor {
    let at = run.archived_at.filter(|_| archived).unwrap_or(run.completed_at);
    EndedCursor { at, workflow_id: run.workflow_id.to_string() }
}

fn days_ago(field: &str, days: u32) -> Result<Moment, ApiError> {
    match days {
        0..=MAX_DAYS => Ok(OffsetDateTime::now_utc() - time::Duration::days(days.into())),
        _ => Err(ApiError::field(field, format!("must be at most {MAX_DAYS}"))),
    }
}
