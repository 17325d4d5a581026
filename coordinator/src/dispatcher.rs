//! Publishes due attempts as step commands and notes where their messages are.
//!
//! It is handed new attempts right after their commit; what a crash keeps from it, the sweeper
//! finds. Marking waits a moment: most attempts of fast agents are settled by then, and an attempt
//! that is gone needs no mark.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use sluice_bus::{BusError, StepMessage};
use sluice_engine::attempt::{AttemptRow, Loss, Published};
use sluice_engine::{AttemptDraft, State};
use sluice_proto::ids::{AgentName, CommandId};
use sluice_proto::message::{Command, MESSAGE_VERSION};
use sluice_proto::timestamp::Timestamp;
use sluice_proto::trace::traceparent;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::coordinator::{Shared, now};
use crate::intake::{Item, ReplyTo, Work};
use crate::store::StoreError;
use crate::store::attempts::{self, AttemptKey, StoredAttempt};

/// Dispatches that may wait.
const QUEUE: usize = 16_384;
/// Commands published before their acknowledgements are awaited.
const MAX_BATCH: usize = 1_000;
/// How long a mark waits for its attempt to be settled first.
const MARK_AFTER: Duration = Duration::from_millis(100);
/// Retries further away than this are left to the sweeper, which looks at every due attempt.
const MAX_DELAYED: usize = 100_000;

/// One command to publish.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    id: CommandId,
    agent: AgentName,
    urgent: bool,
    row: AttemptRow,
    body: Bytes,
}

/// Hands commands to the dispatcher.
#[derive(Clone)]
pub(crate) struct DispatcherHandle(mpsc::Sender<Dispatch>);

impl DispatcherHandle {
    /// Queues commands. One that finds the dispatcher stopped is found by a sweep.
    pub(crate) async fn dispatch(&self, dispatches: Vec<Dispatch>) {
        for dispatch in dispatches {
            if self.0.send(dispatch).await.is_err() {
                return;
            }
        }
    }
}

/// The queue of a dispatcher that is not running yet.
pub(crate) fn channel() -> (DispatcherHandle, mpsc::Receiver<Dispatch>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (DispatcherHandle(sender), receiver)
}

/// The command of an attempt; none when it could not be written as JSON.
pub(crate) fn dispatch(
    shared: &Shared,
    state: &State,
    stored: &StoredAttempt,
    draft: &AttemptDraft,
) -> Option<Dispatch> {
    let id = stored.id.clone();
    let agent = draft.wish.agent.clone();
    let command = Command {
        v: MESSAGE_VERSION,
        workflow_id: id.workflow_id.clone(),
        template_name: state.template_name.clone(),
        step_id: id.step_path.clone(),
        visit: id.visit,
        attempt: id.attempt,
        dispatch: stored.row.dispatch,
        kind: draft.wish.kind,
        agent: agent.clone(),
        payload: draft.payload.clone(),
        context: state.context.as_object().cloned().unwrap_or_default(),
        idempotency_key: id.idempotency_key(),
        fence: stored.row.fence,
        claim: stored.row.claim,
        lease_ms: shared.lease_ms,
        timeout_ms: stored.row.timeout_ms,
        budget: None,
        insights: recent_insights(state),
        locks: draft.locks.clone(),
        recovery: draft.recovery.clone(),
        command_id: id.clone(),
    };
    let body = match serde_json::to_vec(&command) {
        Ok(body) => Bytes::from(body),
        Err(error) => {
            tracing::error!(command.id = %id, %error, "a command cannot be written as JSON");
            return None;
        }
    };
    Some(Dispatch { id, agent, urgent: stored.urgent, row: stored.row.clone(), body })
}

/// The newest findings of other agents.
const INSIGHTS_SENT: usize = 10;

fn recent_insights(state: &State) -> Vec<serde_json::Value> {
    let skipped = state.insights.len().saturating_sub(INSIGHTS_SENT);
    let recent = state.insights.iter().skip(skipped);
    recent.filter_map(|insight| serde_json::to_value(insight).ok()).collect()
}

struct Delayed(Timestamp, u64, Dispatch);

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Delayed {}
impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Publishes until told to stop.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Dispatch>,
    stop: CancellationToken,
) {
    let (marks, marker) = mpsc::channel(QUEUE);
    let marking = tokio::spawn(mark(Arc::clone(&shared), marker));
    let mut delayed: BinaryHeap<Reverse<Delayed>> = BinaryHeap::new();
    let mut arrived = 0_u64;
    let mut received = Vec::with_capacity(MAX_BATCH);
    let mut connections = shared.bus.connections();
    let mut is_refused = false;
    loop {
        let wait_ms = delayed.peek().map_or(60_000, |Reverse(next)| next.0.ms_since(now()));
        tokio::select! {
            n = queue.recv_many(&mut received, MAX_BATCH) => if n == 0 { break },
            () = tokio::time::sleep(Duration::from_millis(wait_ms)), if !delayed.is_empty() => {}
            () = stop.cancelled() => break,
        }
        let mut due = Vec::new();
        for dispatch in received.drain(..) {
            if dispatch.row.due_at <= now() {
                due.push(dispatch);
            } else if delayed.len() < MAX_DELAYED {
                arrived += 1;
                delayed.push(Reverse(Delayed(dispatch.row.due_at, arrived, dispatch)));
            }
        }
        while delayed.peek().is_some_and(|Reverse(next)| next.0 <= now()) && due.len() < MAX_BATCH {
            due.extend(delayed.pop().map(|Reverse(next)| next.2));
        }
        // A server that is back may have lost the stream: who knows its successor's time of creation marks
        // commands as what they are, and no sweep sends them again.
        // The same is true of a stream that takes nothing: somebody may have deleted it.
        if connections.has_changed().unwrap_or(false) || is_refused {
            connections.mark_unchanged();
            if let Err(error) = look_at_stream(&shared).await {
                tracing::debug!(%error, "the stream of commands could not be looked at");
            }
        }
        is_refused = !publish(&shared, due, &marks).await;
    }
    drop(marks);
    if let Err(error) = marking.await {
        tracing::error!(%error, "marking published commands ended badly");
    }
}

/// Notes when the stream of commands was created, and makes it when it is missing. It is not known before
/// it is there: a command marked with another time is taken for one of another stream, and sent again.
pub(crate) async fn look_at_stream(shared: &Shared) -> Result<(), BusError> {
    let mut created = shared.bus.steps_stream_created().await?;
    if created.is_none() {
        shared.bus.ensure_topology().await?;
        created = shared.bus.steps_stream_created().await?;
    }
    shared.stream_created_micros.store(created.unwrap_or_default(), Ordering::Release);
    Ok(())
}

type Mark = (AttemptKey, u32, Published);

/// Gives whether all of them were taken.
async fn publish(shared: &Arc<Shared>, due: Vec<Dispatch>, marks: &mpsc::Sender<Mark>) -> bool {
    let limit = shared.bus.max_payload();
    let (due, too_large): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|dispatch| dispatch.body.len() <= limit);
    for dispatch in too_large {
        give_up(shared, dispatch);
    }
    if due.is_empty() {
        return true;
    }
    let mut all_taken = true;
    let messages = due
        .iter()
        .map(|dispatch| StepMessage {
            agent: dispatch.agent.clone(),
            urgent: dispatch.urgent,
            message_id: format!("{}:{}", dispatch.id, dispatch.row.dispatch),
            traceparent: Some(traceparent(&dispatch.id, dispatch.row.dispatch)),
            body: dispatch.body.clone(),
        })
        .collect();
    shared.metrics.dispatches.add(due.len());
    // Read before the publish: a stream made anew in between leads to one more dispatch, never to a
    // message that is looked for in a stream it was not published to.
    let stream_created_micros = shared.stream_created_micros.load(Ordering::Acquire);
    let results = shared.bus.publish_steps(messages).await;
    for (dispatch, result) in due.iter().zip(results) {
        match result {
            Ok(published) => {
                let sequence = published.stream_sequence;
                let published = Published { stream_created_micros, sequence };
                let mark = (AttemptKey::from(&dispatch.id), dispatch.row.dispatch, published);
                if marks.send(mark).await.is_err() {
                    break;
                }
            }
            // Unmarked, it is published again by a sweep.
            Err(error) => {
                all_taken = false;
                tracing::warn!(
                    workflow.id = %dispatch.id.workflow_id,
                    step.id = dispatch.id.step_path,
                    attempt = dispatch.id.attempt,
                    %error,
                    "a command could not be published; a sweep will try again"
                );
            }
        }
    }
    all_taken
}

/// No repetition makes a command smaller: the attempt fails, and its run goes where failures go.
fn give_up(shared: &Arc<Shared>, dispatch: Dispatch) {
    tracing::warn!(
        workflow.id = %dispatch.id.workflow_id,
        step.id = dispatch.id.step_path,
        attempt = dispatch.id.attempt,
        command.bytes = dispatch.body.len(),
        "a command is too large for a message"
    );
    shared.metrics.given_up.add(1);
    let item = Item {
        workflow_id: dispatch.id.workflow_id.clone(),
        work: Work::Lost { id: dispatch.id, row: Box::new(dispatch.row), loss: Loss::TooLarge },
        reply_to: ReplyTo::Nobody,
    };
    let intake = shared.intake.clone();
    // The intake hands commands to the dispatcher: neither may wait for the other.
    tokio::spawn(async move { intake.submit(item).await });
}

async fn mark(shared: Arc<Shared>, mut queue: mpsc::Receiver<Mark>) {
    let mut marks = Vec::with_capacity(MAX_BATCH);
    while queue.recv_many(&mut marks, MAX_BATCH).await > 0 {
        tokio::time::sleep(MARK_AFTER).await;
        // Whatever came meanwhile waits for the next round: each mark has waited as long.
        if let Err(error) = write_marks(&shared, &marks).await {
            tracing::warn!(%error, marks = marks.len(), "publishes could not be marked; a sweep repeats them");
        }
        marks.clear();
    }
}

async fn write_marks(shared: &Shared, marks: &[Mark]) -> Result<(), StoreError> {
    let mut connection = shared.pool.acquire().await?;
    attempts::mark_published(&mut connection, marks).await
}
