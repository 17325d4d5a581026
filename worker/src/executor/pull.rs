//! Takes commands of one agent as fast as there is room for them.

use std::sync::Arc;
use std::time::Duration;

use sluice_bus::{BusError, Delivery, StepPuller};
use tokio::time::{sleep, timeout};

use super::slots::{self, Slot};
use super::{Context, Seat, attempt};

/// How long an idle loop waits in one go.
const IDLE_WAIT: Duration = Duration::from_secs(30);
/// How long a command that came while idle waits for a slot. Slots are taken for a moment by agents that
/// only look what lies there, and every return to the queue counts against the command.
const SLOT_WAIT: Duration = Duration::from_secs(1);
/// Pause after a failed pull, doubled up to the second.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Runs until the worker is closing. Commands that arrive too late for that are handed back.
pub(crate) async fn pull(context: Arc<Context>, seat: Arc<Seat>) {
    let mut puller = context.bus.step_puller(&seat.agent);
    let mut pause = MIN_PAUSE;
    loop {
        let pulled = tokio::select! {
            biased;
            () = context.closing.cancelled() => return,
            pulled = pull_once(&context, &seat, &mut puller) => pulled,
        };
        let Err(error) = pulled else {
            pause = MIN_PAUSE;
            continue;
        };
        if pause == MIN_PAUSE {
            tracing::warn!(agent = %seat.agent, %error, "commands cannot be pulled, trying again");
        }
        tokio::select! {
            () = context.closing.cancelled() => return,
            () = sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
        }
    }
}

async fn pull_once(
    context: &Arc<Context>,
    seat: &Arc<Seat>,
    puller: &mut StepPuller,
) -> Result<(), BusError> {
    let mut free = slots::all_free(context, seat);
    if free.is_empty() {
        puller.pause();
        free.extend(slots::next_free(context, seat).await);
        free.append(&mut slots::all_free(context, seat));
    }
    // The slots are ours for as long as the question takes, so that agents with a backlog do not
    // between them take more than fits.
    let room = free.len();
    let waiting = puller.fetch(room).await?;
    if !waiting.is_empty() {
        begin_all(context, seat, waiting, free).await;
        return Ok(());
    }
    // Idle agents keep no slot from busy ones. What comes finds one then, or goes back.
    drop(free);
    for delivery in puller.wait(room, IDLE_WAIT).await? {
        match timeout(SLOT_WAIT, slots::next_free(context, seat)).await {
            Ok(Some(slot)) => begin(context, seat, delivery, slot),
            _ => hand_back(&delivery).await,
        }
    }
    Ok(())
}

async fn begin_all(
    context: &Arc<Context>,
    seat: &Arc<Seat>,
    deliveries: Vec<Delivery>,
    free: Vec<Slot>,
) {
    let mut free = free.into_iter();
    for delivery in deliveries {
        match free.next() {
            Some(slot) => begin(context, seat, delivery, slot),
            None => hand_back(&delivery).await,
        }
    }
}

fn begin(context: &Arc<Context>, seat: &Arc<Seat>, delivery: Delivery, slot: Slot) {
    let running = attempt::run(Arc::clone(context), Arc::clone(seat), delivery);
    context.attempts.spawn(async move {
        running.await;
        drop(slot);
    });
}

async fn hand_back(delivery: &Delivery) {
    if let Err(error) = delivery.nak(None).await {
        tracing::debug!(%error, "a command was not handed back; it comes again by itself");
    }
}
