//! Attempts whose lease, time or message is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sluice_bus::LaneView;
use sluice_engine::attempt::{AttemptRow, Lane, PUBLISH_GRACE_MS, Verdict};
use sluice_engine::{draft, wishes};
use sluice_proto::ids::{AgentName, CommandId};
use sluice_proto::timestamp::Timestamp;
use sqlx::Acquire;

use super::SweepError;
use crate::coordinator::{Shared, now};
use crate::dispatcher;
use crate::intake::{Item, ReplyTo, Work};
use crate::store::attempts::{self, AttemptKey, LaneQuery, StoredAttempt, Unchanged};

/// What the clock alone says. Whether it says anything about leases is asked once they are read.
pub(super) async fn sweep_overdue(
    shared: &Arc<Shared>,
    judges_leases: impl FnOnce() -> bool,
) -> Result<(), SweepError> {
    let now = now();
    let grace_ago =
        Timestamp::from_micros(now.as_micros() - PUBLISH_GRACE_MS.cast_signed() * 1_000);
    let mut connection = shared.pool.acquire().await?;
    let mut overdue = attempts::find_overdue(&mut connection, now.into(), grace_ago.into()).await?;
    drop(connection);
    if !judges_leases() {
        overdue.retain(|stored| stored.row.lease_until.is_none());
    }
    act(shared, overdue, None, now).await
}

/// What JetStream says about queued attempts: one look an agent's lane.
pub(super) async fn sweep_lanes(shared: &Arc<Shared>) -> Result<(), SweepError> {
    let mut connection = shared.pool.acquire().await?;
    let lanes = attempts::queued_lanes(&mut connection).await?;
    for (agent, urgent) in lanes {
        let Ok(name) = AgentName::parse(&agent) else { continue };
        // Only attempts marked before the look are judged by it.
        let marked_before = attempts::database_now(&mut connection).await?;
        let lane = look(shared, &name, urgent).await?;
        let query = LaneQuery {
            agent,
            urgent,
            marked_before,
            stream_created_micros: lane.stream_created_micros,
            last_sequence: lane.last_sequence,
            ack_floor: lane.ack_floor,
            is_idle: lane.is_idle,
        };
        let gone = attempts::find_undeliverable(&mut connection, &query).await?;
        act(shared, gone, Some(&lane), now()).await?;
    }
    Ok(())
}

/// A missing consumer is made anew first: the stream still holds what it has to deliver. What is sent again
/// because its stream is another one is marked with that one's time of creation.
async fn look(shared: &Shared, agent: &AgentName, urgent: bool) -> Result<Lane, SweepError> {
    let mut view = shared.bus.step_lane(agent, urgent).await?;
    if !view.exists {
        shared.bus.ensure_topology().await?;
        shared.bus.ensure_step_consumers(std::slice::from_ref(agent)).await?;
        view = shared.bus.step_lane(agent, urgent).await?;
    }
    if view.exists {
        shared.stream_created_micros.store(view.stream_created_micros, Ordering::Release);
    }
    Ok(lane(&view))
}

fn lane(view: &LaneView) -> Lane {
    Lane {
        stream_created_micros: view.exists.then_some(view.stream_created_micros),
        last_sequence: view.last_sequence,
        ack_floor: view.ack_floor,
        is_idle: view.pending == 0 && view.ack_pending == 0,
    }
}

async fn act(
    shared: &Arc<Shared>,
    found: Vec<StoredAttempt>,
    lane: Option<&Lane>,
    now: Timestamp,
) -> Result<(), SweepError> {
    let judged = found.into_iter().map(|stored| {
        let verdict = stored.row.sweep(lane, now);
        (stored, verdict)
    });
    carry_out(shared, judged).await
}

/// Carries on with attempts whose worker is known to be gone.
pub(crate) async fn lose(
    shared: &Arc<Shared>,
    found: Vec<StoredAttempt>,
) -> Result<(), SweepError> {
    let now = now();
    let judged = found.into_iter().map(|stored| {
        let verdict = stored.row.lose(now);
        (stored, verdict)
    });
    carry_out(shared, judged).await
}

async fn carry_out(
    shared: &Arc<Shared>,
    judged: impl Iterator<Item = (StoredAttempt, Verdict)>,
) -> Result<(), SweepError> {
    let mut publish = Vec::new();
    let mut changes: Vec<(StoredAttempt, AttemptRow)> = Vec::new();
    for (stored, verdict) in judged {
        match verdict {
            Verdict::Keep => {}
            Verdict::Publish => publish.push(stored),
            Verdict::Redispatch(row) => changes.push((stored, row)),
            Verdict::GiveUp(loss) => {
                shared.metrics.given_up.add(1);
                tracing::warn!(
                    workflow.id = %stored.id.workflow_id,
                    step.id = stored.id.step_path,
                    attempt = stored.id.attempt,
                    worker.id = stored.row.worker,
                    ?loss,
                    "an attempt is given up"
                );
                let item = Item {
                    workflow_id: stored.id.workflow_id.clone(),
                    work: Work::Lost { id: stored.id, row: Box::new(stored.row), loss },
                    reply_to: ReplyTo::Nobody,
                };
                shared.intake.submit(item).await;
            }
        }
    }
    publish.extend(redispatch(shared, changes).await?);
    publish_again(shared, publish).await
}

/// Writes new fences and dispatch numbers. What somebody else has moved meanwhile, or is at, is left alone:
/// the next sweep sees what became of it.
async fn redispatch(
    shared: &Arc<Shared>,
    mut changes: Vec<(StoredAttempt, AttemptRow)>,
) -> Result<Vec<StoredAttempt>, SweepError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<AttemptKey> = changes.iter().map(|(old, _)| AttemptKey::from(&old.id)).collect();
    let mut connection = shared.pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    let free = attempts::find_free_for_update(&mut transaction, &keys).await?;
    changes.retain(|(old, _)| free.iter().any(|stored| stored.id == old.id));
    let moved = attempts::update(&mut transaction, &changes).await?;
    transaction.commit().await?;
    shared.metrics.redispatches.add(moved.len());
    let mut by_id: HashMap<CommandId, StoredAttempt> = changes
        .into_iter()
        .map(|(stored, row)| (stored.id.clone(), StoredAttempt { row, ..stored }))
        .collect();
    Ok(moved.iter().filter_map(|id| by_id.remove(id)).collect())
}

/// The command is a function of the run's state, so it is made again from that.
async fn publish_again(shared: &Arc<Shared>, stored: Vec<StoredAttempt>) -> Result<(), SweepError> {
    if stored.is_empty() {
        return Ok(());
    }
    let mut ids: Vec<String> = stored.iter().map(|s| s.id.workflow_id.to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut connection = shared.pool.acquire().await?;
    let runs = shared.loader.load(&mut connection, &ids).await?;
    let mut dispatches = Vec::with_capacity(stored.len());
    for stored in stored {
        let Some(run) = runs.get(stored.id.workflow_id.as_str()) else { continue };
        let wished = wishes(&run.template, &run.state).attempts;
        let id = &stored.id;
        let wish = wished.into_iter().find(|wish| wish.is(&id.step_path, id.visit, id.attempt));
        let Some(wish) = wish else {
            // The run has moved on between the two reads, and its commit deletes the row; a row that
            // stays belongs to nothing.
            orphan(shared, &mut connection, &stored).await?;
            continue;
        };
        let draft = draft(&run.template, &shared.agents, &run.state, wish);
        dispatches.extend(dispatcher::dispatch(shared, &run.state, &stored, &draft));
    }
    drop(connection);
    shared.dispatcher.dispatch(dispatches).await;
    Ok(())
}

async fn orphan(
    shared: &Shared,
    connection: &mut sqlx::PgConnection,
    stored: &StoredAttempt,
) -> Result<(), SweepError> {
    let key = (AttemptKey::from(&stored.id), Unchanged::Fence(stored.row.fence));
    if attempts::delete(connection, &[key]).await? > 0 {
        shared.metrics.runs_repaired.add(1);
        tracing::error!(command.id = %stored.id, "an attempt that its run does not wait for was deleted");
    }
    Ok(())
}
