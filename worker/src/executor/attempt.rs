//! The life of one attempt in this worker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use serde_json::{Value, json};
use sluice_bus::Delivery;
use sluice_proto::burial::Burial;
use sluice_proto::message::{
    Claim, ClaimReply, Command, Heartbeat, MESSAGE_VERSION, Refusal, ResultReply,
};
use sluice_proto::timestamp::Timestamp;
use time::OffsetDateTime;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::held::{HeldAttempt, Twice};
use super::{Context, Seat, ask, report};
use crate::runtime::{Job, Outcome, Progress, failure};

/// A command that another worker holds comes back after this, in case that worker is gone by then.
const ELSEWHERE_PAUSE: Duration = Duration::from_secs(15);
/// A command that was sent again comes back after this, when its first execution here has ended.
const SUPERSEDED_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for the coordinator to keep a command that cannot be read.
const BURIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Room for what a burial says besides its payload, bytes.
const BURIAL_MARGIN: usize = 8 * 1024;
/// Longest reason that is handed over, characters.
const MAX_REASON_CHARS: usize = 1_000;
/// An attempt that begins so soon after a roll call was under way to its worker when it was made.
const ROLL_CALL_ECHO: Duration = Duration::from_secs(1);
/// Heartbeats, and notices to the queue, are neither more nor less frequent than this, whatever a command
/// says.
const MIN_HEARTBEAT: Duration = Duration::from_millis(50);
const MAX_HEARTBEAT: Duration = Duration::from_secs(60);

/// What becomes of the command in the queue.
pub(super) enum Ending {
    /// The coordinator has what it needs: it is acknowledged.
    Settled,
    /// It is handed back, to be delivered again at once or later.
    Later(Option<Duration>),
    /// It is left alone: its lease decides.
    Left,
}

/// Carries a command from its delivery to its end.
pub(super) async fn run(context: Arc<Context>, seat: Arc<Seat>, delivery: Delivery) {
    let command = match decode(&seat, &delivery) {
        Ok(command) => Arc::new(command),
        Err(reason) => {
            tracing::error!(agent = %seat.agent, nats.sequence = delivery.stream_sequence, reason, "unreadable command");
            return settled(bury(&context, &delivery, reason).await);
        }
    };
    let held = match context.held.take(&command.command_id, command.fence) {
        Ok(held) => held,
        // The first one acknowledges it.
        Err(Twice::Redelivered) => return,
        Err(Twice::Superseding) => return settled(delivery.nak(Some(SUPERSEDED_PAUSE)).await),
    };
    let pause = heartbeat_pause(&command).min(context.bus.ack_wait() / 3);
    let attempt = Attempt { context, seat, command, held, progress: Progress::default() };
    let ending = tokio::select! {
        ending = attempt.work(&delivery) => ending,
        never = keep_in_queue(&delivery, pause) => match never {},
    };
    settled(match ending {
        Ending::Settled => delivery.ack().await,
        Ending::Later(pause) => delivery.nak(pause).await,
        Ending::Left => Ok(()),
    });
}

fn decode(seat: &Seat, delivery: &Delivery) -> Result<Command, String> {
    let command: Command =
        serde_json::from_slice(&delivery.payload).map_err(|error| error.to_string())?;
    if command.v != MESSAGE_VERSION {
        return Err(format!("message version {}, this worker knows {MESSAGE_VERSION}", command.v));
    }
    if command.agent != seat.agent {
        return Err(format!("it is for agent {}", command.agent));
    }
    Ok(command)
}

/// Takes a command that nobody can process off the queue, once the coordinator has kept it.
async fn bury(
    context: &Context,
    delivery: &Delivery,
    reason: String,
) -> Result<(), sluice_bus::BusError> {
    let bus = &context.bus;
    // Base64 needs four bytes for three.
    let room = bus.max_payload() / 4 * 3 - BURIAL_MARGIN.min(bus.max_payload() / 4 * 3);
    let payload = &delivery.payload[..delivery.payload.len().min(room)];
    let burial = Burial {
        v: MESSAGE_VERSION,
        worker_id: context.worker_id.to_string(),
        subject: delivery.subject.clone(),
        stream_sequence: delivery.stream_sequence,
        delivered_count: delivery.delivered_count,
        reason: reason.chars().take(MAX_REASON_CHARS).collect(),
        payload: BASE64.encode(payload),
    };
    let asked = bus.request(bus.subjects().burials(), report::to_bytes(&burial), BURIAL_TIMEOUT);
    match asked.await {
        Ok(reply)
            if serde_json::from_slice(&reply).is_ok_and(|r| matches!(r, ResultReply::Recorded)) =>
        {
            delivery.term(&reason).await
        }
        _ => delivery.nak(Some(ELSEWHERE_PAUSE)).await,
    }
}

fn settled(result: Result<(), sluice_bus::BusError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a command could not be settled; it will be delivered again");
    }
}

async fn keep_in_queue(delivery: &Delivery, pause: Duration) -> std::convert::Infallible {
    loop {
        sleep(pause).await;
        if let Err(error) = delivery.in_progress().await {
            tracing::debug!(%error, "the queue was not told that a command is in work");
        }
    }
}

pub(super) struct Attempt {
    pub(super) context: Arc<Context>,
    seat: Arc<Seat>,
    pub(super) command: Arc<Command>,
    pub(super) held: HeldAttempt,
    progress: Progress,
}

/// How the agent's work ended.
enum Work {
    Finished(Outcome),
    /// Nobody wants it any more.
    Revoked,
    /// The worker is ending.
    HandedBack,
}

impl Attempt {
    async fn work(&self, delivery: &Delivery) -> Ending {
        if self.command.claim {
            match self.claim().await {
                Ok(fence) => self.held.replace_fence(fence),
                Err(ending) => return ending,
            }
        } else if delivery.delivered_count > 1 {
            // Whoever had it first may have ended it, or it was given to others: agents are not called
            // for nothing.
            if let Err(ending) = self.confirm().await {
                return ending;
            }
        }
        let started_at = now();
        let heartbeats = self.heartbeats();
        let working = async {
            match self.execute(delivery).await {
                Work::Finished(outcome) => self.report(outcome, started_at).await,
                Work::Revoked => Ending::Settled,
                Work::HandedBack => self.unfinished(),
            }
        };
        tokio::select! {
            ending = working => ending,
            never = heartbeats => match never {},
        }
    }

    /// Asks for the fence until somebody answers. Without the grant nothing is begun. A worker that stops
    /// waits for the answer like for an agent: what was granted unheard nobody may try again.
    async fn claim(&self) -> Result<u64, Ending> {
        if self.context.closing.is_cancelled() {
            return Err(Ending::Later(None));
        }
        let (command, bus) = (&self.command, &self.context.bus);
        let claim = Claim {
            v: MESSAGE_VERSION,
            command_id: command.command_id.clone(),
            fence: command.fence,
            worker_id: self.context.worker_id.to_string(),
        };
        let subject = bus.subjects().claim(&command.agent, &command.workflow_id);
        let body = report::to_bytes(&claim);
        // A grant that took half a lease to arrive may have run out by the time the agent starts; who may
        // not be called twice must not be called then. Asked again, it is extended or refused. The time
        // is measured here, since the clocks of two machines differ. For the same reason no answer is
        // waited for longer: a claim that was granted unheard runs out while nobody sends heartbeats.
        let fresh = Duration::from_millis(self.command.lease_ms / 2);
        let reply = loop {
            let asked = Instant::now();
            let reply = tokio::select! {
                reply = ask::until_answered::<ClaimReply>(bus, &subject, &body, fresh) => reply,
                () = self.context.ended.cancelled() => return Err(Ending::Later(None)),
                () = self.held.revoked.cancelled() => return Err(Ending::Settled),
            };
            if !matches!(reply, Ok(ClaimReply::Granted { .. })) || asked.elapsed() < fresh {
                break reply;
            }
        };
        match reply {
            Ok(ClaimReply::Granted { fence, .. }) => Ok(fence),
            Ok(ClaimReply::Refused { reason: Refusal::HeldByAnother }) => {
                Err(Ending::Later(Some(ELSEWHERE_PAUSE)))
            }
            Ok(ClaimReply::Refused { reason }) => {
                self.refused("claim", reason);
                Err(Ending::Settled)
            }
            Err(_) => Err(Ending::Later(Some(ELSEWHERE_PAUSE))),
        }
    }

    /// Makes sure that the attempt is still wanted under the fence of its command.
    async fn confirm(&self) -> Result<(), Ending> {
        let bus = &self.context.bus;
        let subject = bus.subjects().heartbeat(&self.command.agent, &self.command.workflow_id);
        let body = report::to_bytes(&self.heartbeat());
        let reply = tokio::select! {
            reply = ask::until_answered::<ClaimReply>(bus, &subject, &body, ask::ANSWER_TIMEOUT) => reply,
            () = self.context.ended.cancelled() => return Err(Ending::Later(None)),
            () = self.held.revoked.cancelled() => return Err(Ending::Settled),
        };
        match reply {
            Ok(ClaimReply::Granted { .. }) => Ok(()),
            Ok(ClaimReply::Refused { reason }) => {
                self.refused("redelivery", reason);
                Err(Ending::Settled)
            }
            Err(_) => Err(Ending::Later(Some(ELSEWHERE_PAUSE))),
        }
    }

    async fn execute(&self, delivery: &Delivery) -> Work {
        let stop = CancellationToken::new();
        let job = Job {
            command: Arc::clone(&self.command),
            body: self.body(delivery),
            traceparent: delivery.traceparent().map(str::to_owned),
            progress: self.progress.clone(),
            stop: stop.clone(),
            max_output: self.context.bus.max_payload(),
        };
        let allowed = Duration::from_millis(self.command.timeout_ms);
        // A task of its own, so that a panic in a runtime is the end of this attempt only.
        let mut running =
            AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self.seat.runtime).run(job)));
        let cut_short = tokio::select! {
            outcome = &mut running => return Work::Finished(outcome.unwrap_or_else(|e| panicked(&e))),
            () = sleep(allowed) => {
                let message = format!("the agent ran longer than {} ms", self.command.timeout_ms);
                Work::Finished(failure("timeout", true, message).into())
            }
            () = self.held.revoked.cancelled() => Work::Revoked,
            () = self.context.ended.cancelled() => Work::HandedBack,
        };
        stop.cancel();
        let _ = timeout(self.seat.runtime.farewell(), running).await;
        cut_short
    }

    /// The command as agents see it, with the fence in force.
    fn body(&self, delivery: &Delivery) -> Bytes {
        let fence = self.held.fence();
        if fence == self.command.fence {
            return delivery.payload.clone();
        }
        // Fields this version does not know are passed on.
        match serde_json::from_slice::<Value>(&delivery.payload) {
            Ok(mut body) => {
                body["fence"] = json!(fence);
                report::to_bytes(&body)
            }
            Err(_) => delivery.payload.clone(),
        }
    }

    /// The first one comes when a third of the lease is over, or when somebody asks who has what: short
    /// attempts cause no traffic.
    async fn heartbeats(&self) -> std::convert::Infallible {
        let pause = heartbeat_pause(&self.command);
        let bus = &self.context.bus;
        let subject = bus.subjects().heartbeat(&self.command.agent, &self.command.workflow_id);
        let mut calls = self.context.roll_calls.subscribe();
        let just_called = calls.borrow_and_update().is_some_and(|at| at.elapsed() < ROLL_CALL_ECHO);
        let mut wait = if just_called { Duration::ZERO } else { pause };
        loop {
            tokio::select! {
                () = sleep(wait) => {}
                // Its sender lives as long as this attempt.
                _ = calls.changed() => {}
            }
            wait = pause;
            let heartbeat = report::to_bytes(&self.heartbeat());
            if let Err(error) = bus.publish(subject.as_str(), heartbeat).await {
                tracing::debug!(%error, "a heartbeat was not sent");
            }
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        let lines = self.progress.take();
        Heartbeat {
            v: MESSAGE_VERSION,
            command_id: self.command.command_id.clone(),
            fence: self.held.fence(),
            worker_id: self.context.worker_id.to_string(),
            progress: (!lines.is_empty()).then(|| json!({ "lines": lines })),
        }
    }

    /// What becomes of an attempt that did not come to its end. One that was claimed may have touched the
    /// world: whether it is repeated is not for a worker to decide.
    pub(super) fn unfinished(&self) -> Ending {
        if self.command.claim { Ending::Left } else { Ending::Later(None) }
    }

    pub(super) fn refused(&self, what: &str, reason: Refusal) {
        tracing::info!(
            workflow.id = %self.command.workflow_id, step.id = %self.command.step_id,
            attempt = self.command.attempt, ?reason, "{what} refused, attempt dropped"
        );
    }
}

fn heartbeat_pause(command: &Command) -> Duration {
    Duration::from_millis(command.lease_ms / 3).clamp(MIN_HEARTBEAT, MAX_HEARTBEAT)
}

fn panicked(error: &JoinError) -> Outcome {
    tracing::error!(%error, "an agent's runtime panicked");
    failure("worker_panic", false, "the worker has a defect: the agent's runtime panicked").into()
}

pub(crate) fn now() -> Timestamp {
    OffsetDateTime::now_utc().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_that_attempt() {
        let error = tokio::spawn(async { panic!("defect") }).await.map(|(): ()| ()).unwrap_err();
        assert_eq!(panicked(&error).result.unwrap_err().code, "worker_panic");
    }
}
