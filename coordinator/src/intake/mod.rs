//! Intake: inputs of many runs, applied together in one transaction.
//!
//! A batch forms by itself while the last commit is under way; nobody sleeps to fill one. What the
//! batch decides is told only after the commit.

mod batch;
mod breakers;
mod control;
mod family;
mod item;
mod lessons;
mod locks;
pub(crate) mod results;
pub(crate) mod working;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::coordinator::Shared;
use crate::store::StoreError;
use batch::Verdict;
pub(crate) use item::{Item, ReplyTo, Request, Work, api_error};

/// Inputs that may wait; a sender beyond it waits for room.
const QUEUE: usize = 4_096;
/// Inputs in one transaction.
const MAX_BATCH: usize = 512;
/// Repeats of a batch that another writer keeps beating, before its inputs go one by one.
const MAX_CONFLICTS: u32 = 3;
/// Repeats of a single input that another writer keeps beating.
const MAX_CONFLICTS_ALONE: u32 = 50;

/// Hands inputs to the intake.
#[derive(Clone)]
pub(crate) struct IntakeHandle {
    queue: mpsc::Sender<Item>,
    /// Whether the last transaction found no database.
    database_away: Arc<AtomicBool>,
}

impl IntakeHandle {
    /// Queues an input; its reply comes after the commit. When the intake has stopped, whoever waits
    /// for the reply is told by its closed channel.
    pub(crate) async fn submit(&self, item: Item) {
        if self.queue.send(item).await.is_err() {
            tracing::debug!("an input came after the intake had stopped");
        }
    }

    /// Why an input that was not answered in time still waits.
    pub(crate) fn is_database_away(&self) -> bool {
        self.database_away.load(Ordering::Relaxed)
    }
}

/// The queue of an intake that is not running yet.
pub(crate) fn channel() -> (IntakeHandle, mpsc::Receiver<Item>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (IntakeHandle { queue: sender, database_away: Arc::default() }, receiver)
}

/// Applies inputs until told to stop; what had arrived by then is still applied.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Item>,
    stop: CancellationToken,
) {
    let mut items = Vec::with_capacity(MAX_BATCH);
    loop {
        let received = tokio::select! {
            n = queue.recv_many(&mut items, MAX_BATCH) => n,
            () = stop.cancelled() => {
                queue.close();
                queue.recv_many(&mut items, MAX_BATCH).await
            }
        };
        if received == 0 {
            return;
        }
        Box::pin(apply(&shared, std::mem::take(&mut items))).await;
    }
}

/// Applies a batch, whatever it takes: repeats it on conflicts, splits it when its data is refused.
async fn apply(shared: &Arc<Shared>, items: Vec<Item>) {
    // Batches still to be applied, as a stack of halves.
    let mut open = vec![items];
    while let Some(items) = open.pop() {
        match attempt(shared, &items).await {
            Ok(verdicts) => {
                shared.intake.database_away.store(false, Ordering::Relaxed);
                for (item, verdict) in items.into_iter().zip(verdicts) {
                    item.settle(shared, verdict).await;
                }
            }
            Err(error) if items.len() > 1 && splits(&error) => {
                let mut first = items;
                let second = first.split_off(first.len() / 2);
                open.push(second);
                open.push(first);
            }
            Err(error) => fail(shared, items, &error, &mut open).await,
        }
    }
}

fn splits(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unavailable(_))
}

async fn attempt(shared: &Arc<Shared>, items: &[Item]) -> Result<Vec<Verdict>, StoreError> {
    let limit = if items.len() == 1 { MAX_CONFLICTS_ALONE } else { MAX_CONFLICTS };
    let mut conflicts = 0;
    loop {
        match batch::commit(shared, items).await {
            Err(StoreError::Conflict) if conflicts < limit => {
                conflicts += 1;
                shared.metrics.conflicts.add(1);
                // Two coordinators that collide must not collide again in step.
                let wait_ms = fastrand::u64(0..=u64::from(conflicts).min(20));
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
            result => return result,
        }
    }
}

/// One input alone could not be applied, or the database is away for all of them.
async fn fail(
    shared: &Arc<Shared>,
    items: Vec<Item>,
    error: &StoreError,
    open: &mut Vec<Vec<Item>>,
) {
    if let StoreError::Unavailable(cause) = error {
        shared.intake.database_away.store(true, Ordering::Relaxed);
        tracing::warn!(inputs = items.len(), error = %cause, "PostgreSQL is away; inputs wait for their senders to repeat them");
    }
    for item in items {
        if !matches!(error, StoreError::Data(_)) || !item.may_be_poisoned() {
            item.fail(error).await;
            continue;
        }
        tracing::error!(
            workflow.id = %item.workflow_id,
            %error,
            "PostgreSQL refuses what an agent sent; the attempt ends as bad_output"
        );
        shared.metrics.poisoned.add(1);
        open.push(vec![item.without_poison()]);
    }
}
