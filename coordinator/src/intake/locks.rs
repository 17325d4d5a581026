//! Locks in the transaction of the events that speak of them.
//!
//! Owner and queue are rows; the row of a lock is held `for update` while it changes hands, so two
//! coordinators can never both give it away.

use std::sync::Arc;

use sluice_engine::{Input, WishedLock};
use sluice_proto::ids::WorkflowId;
use sqlx::PgConnection;

use super::working::{Moment, Working};
use crate::coordinator::Shared;
use crate::store::locks::{self, LockRow, NewWaiter};
use crate::store::{StoreError, runs};

/// Something to be done about a lock.
#[derive(Clone, Debug)]
pub(super) enum LockOp {
    /// Take it if it is free and nobody queues, else queue.
    Request { run: WorkflowId, wish: WishedLock },
    /// Leave the queue.
    Withdraw { run: WorkflowId, wish: WishedLock },
    /// Give it to the next in the queue.
    Release { run: WorkflowId, name: String },
    /// It was found free while others queue.
    Grant { name: String },
}

impl LockOp {
    fn name(&self) -> &str {
        match self {
            Self::Request { wish, .. } | Self::Withdraw { wish, .. } => &wish.name,
            Self::Release { name, .. } | Self::Grant { name } => name,
        }
    }
}

/// Does what the batch wants done about locks, and what follows from it, until nothing does.
pub(super) async fn settle(
    shared: &Arc<Shared>,
    connection: &mut PgConnection,
    working: &mut Working,
    moment: Moment,
) -> Result<(), StoreError> {
    while !working.lock_ops.is_empty() {
        let mut ops = std::mem::take(&mut working.lock_ops);
        // Releases first: whoever asks in the same batch finds the queue as it will be.
        ops.sort_by_key(|op| !matches!(op, LockOp::Release { .. }));
        let mut names: Vec<String> = ops.iter().map(|op| op.name().to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        let mut rows = locks::take_rows(connection, &names).await?;
        for op in ops {
            let Some(row) = rows.iter_mut().find(|row| row.name == op.name()) else {
                return Err(StoreError::Conflict);
            };
            settle_one(shared, connection, working, moment, op, row).await?;
        }
    }
    Ok(())
}

async fn settle_one(
    shared: &Arc<Shared>,
    connection: &mut PgConnection,
    working: &mut Working,
    moment: Moment,
    op: LockOp,
    row: &mut LockRow,
) -> Result<(), StoreError> {
    match op {
        LockOp::Release { run, .. } => {
            if row.owner.as_deref() == Some(run.as_str()) {
                row.owner = None;
                locks::set_owner(
                    connection,
                    &row.name,
                    None,
                    row.fencing_number,
                    moment.now.into(),
                )
                .await?;
            }
            hand_over(shared, connection, working, moment, row).await
        }
        LockOp::Grant { .. } => hand_over(shared, connection, working, moment, row).await,
        LockOp::Withdraw { run, wish } => {
            locks::withdraw(connection, &wish.name, run.as_str(), &wish.step).await
        }
        LockOp::Request { run, wish } => {
            let waiter = NewWaiter {
                name: &wish.name,
                workflow_id: run.as_str(),
                step: &wish.step,
                urgent: working.runs.get(run.as_str()).is_some_and(|run| run.template.urgent),
                requested_at: moment.now.into(),
                wait_until: wish.wait_until.map(Into::into),
            };
            locks::enqueue(connection, waiter).await?;
            hand_over(shared, connection, working, moment, row).await?;
            // The run may hold it for another of its branches, and waits then like any other.
            let state = working.runs.get(run.as_str()).map(|run| &run.state);
            let held = state.and_then(|state| state.locks.get(&wish.name));
            let granted = held.is_some_and(|held| held.step == wish.step);
            let Some(holder) = row.owner.as_deref().filter(|_| !granted) else {
                return Ok(());
            };
            let (step, name) = (wish.step, wish.name);
            let input = match locks::circle(connection, run.as_str(), &step, &name).await? {
                Some(circle) => Input::LockRefused { step, name, circle },
                None => Input::LockQueued { step, name, holder: WorkflowId::parse(holder).ok() },
            };
            // A refusal means that the run has moved on; its request is withdrawn by that move.
            let _ = working.advance(shared, &run, input, None, moment)?;
            Ok(())
        }
    }
}

/// Gives a free lock to the first in the queue who still wants it.
async fn hand_over(
    shared: &Arc<Shared>,
    connection: &mut PgConnection,
    working: &mut Working,
    moment: Moment,
    row: &mut LockRow,
) -> Result<(), StoreError> {
    while row.owner.is_none() {
        let Some(waiter) = locks::first_waiter(connection, &row.name).await? else { return Ok(()) };
        locks::dequeue(connection, waiter.waiter_id).await?;
        let Ok(run) = WorkflowId::parse(&waiter.workflow_id) else { continue };
        working.join(shared, connection, &run).await?;
        let fencing_number = row.fencing_number + 1;
        let input = Input::LockGranted {
            step: waiter.step.clone(),
            name: row.name.clone(),
            fencing_number: u64::try_from(fencing_number).unwrap_or_default(),
        };
        if working.advance(shared, &run, input, None, moment)?.is_ok() {
            row.owner = Some(waiter.workflow_id.clone());
            row.fencing_number = fencing_number;
            let owner = Some((waiter.workflow_id.as_str(), waiter.step.as_str()));
            locks::set_owner(connection, &row.name, owner, fencing_number, moment.now.into())
                .await?;
        } else if has_moved_on(connection, working, &run).await? {
            return Err(StoreError::Conflict);
        }
    }
    Ok(())
}

/// Whether a run has come further than this batch read it: then it may well have begun to wait for what has
/// come since, and that must not be lost.
pub(super) async fn has_moved_on(
    connection: &mut PgConnection,
    working: &Working,
    run: &WorkflowId,
) -> Result<bool, StoreError> {
    let read = working.runs.get(run.as_str()).and_then(|run| run.expected_sequence);
    let heads = runs::find_heads(connection, &[run.to_string()]).await?;
    Ok(heads.first().map(|head| head.sequence) != read)
}
