//! Room for one attempt: a place at its agent and one in the worker.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{Context, Seat};

/// Free again when dropped.
pub(super) struct Slot {
    _at_agent: OwnedSemaphorePermit,
    _in_worker: OwnedSemaphorePermit,
}

/// A free slot, if there is one now.
pub(super) fn free(context: &Context, seat: &Seat) -> Option<Slot> {
    let at_agent = Arc::clone(&seat.slots).try_acquire_owned().ok()?;
    let in_worker = Arc::clone(&context.slots).try_acquire_owned().ok()?;
    Some(Slot { _at_agent: at_agent, _in_worker: in_worker })
}

/// Every slot that is free now.
pub(super) fn all_free(context: &Context, seat: &Seat) -> Vec<Slot> {
    std::iter::from_fn(|| free(context, seat)).collect()
}

/// The next slot to become free; the agent's own first, so that nobody waits for it while holding what
/// other agents could use.
pub(super) async fn next_free(context: &Context, seat: &Seat) -> Option<Slot> {
    let at_agent = Arc::clone(&seat.slots).acquire_owned().await.ok()?;
    let in_worker = Arc::clone(&context.slots).acquire_owned().await.ok()?;
    Some(Slot { _at_agent: at_agent, _in_worker: in_worker })
}
