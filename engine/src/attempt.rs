//! The protocol of one attempt: outbox, lease and fence in one row.
//!
//! The functions are pure: a row and a fact in, the row as it must be afterwards out. The
//! coordinator writes that row under the condition that fence and dispatch are still those it read,
//! so two coordinators can never both move one attempt. The simulation runs the very same functions.
//!
//! An attempt is *queued* (published or about to be, no worker has named itself), *leased* (a claim
//! or a first heartbeat named a worker) or gone. However long a queued attempt lies there, it is sent a
//! second time only when JetStream can no longer deliver it, or when no worker that is alive has what
//! was delivered: a long backlog never causes a second message. A publish that was not confirmed is
//! repeated under its message id.

use sluice_proto::message::Refusal;
use sluice_proto::timestamp::Timestamp;

/// Dispatches that may be lost under a worker before the attempt is given up.
pub const MAX_LOST_DISPATCHES: u32 = 3;
/// How long a publish may stay unmarked before it is taken for lost with its dispatcher,
/// milliseconds. Publishing again within the stream's duplicate window is harmless.
pub const PUBLISH_GRACE_MS: u64 = 1_000;

/// What is stored of an outstanding attempt, besides its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// Only messages with this number are listened to.
    pub fence: u64,
    /// How often it was published, from 1.
    pub dispatch: u32,
    /// Dispatches lost under a worker.
    pub lost: u32,
    /// The agent changes the world: no result without a claim.
    pub claim: bool,
    /// May be repeated after a claim.
    pub idempotent: bool,
    /// Who has it.
    pub worker: Option<String>,
    /// It was claimed, not only heard of.
    pub claimed: bool,
    /// Since when somebody has it.
    pub leased_at: Option<Timestamp>,
    /// Until when, without another heartbeat.
    pub lease_until: Option<Timestamp>,
    /// Where its message is, once JetStream acknowledged it.
    pub published: Option<Published>,
    /// Not to be published before.
    pub due_at: Timestamp,
    /// Length of a lease, milliseconds.
    pub lease_ms: u64,
    /// Longest execution, from the lease, milliseconds.
    pub timeout_ms: u64,
    /// Longest stay in the queue, milliseconds.
    pub queue_timeout_ms: Option<u64>,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Creation time of the stream, microseconds since the epoch: tells a stream from its successor.
    pub stream_created_micros: i64,
    /// Sequence of the message in it.
    pub sequence: u64,
}

/// What JetStream says about one agent's lane, read after the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Creation time of the stream, microseconds since the epoch; none when it does not exist.
    pub stream_created_micros: Option<i64>,
    /// Last sequence the stream has given out.
    pub last_sequence: u64,
    /// Every message up to this stream sequence is settled.
    pub ack_floor: u64,
    /// Nothing waits and nothing is under way.
    pub is_idle: bool,
}

/// Why an attempt is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The worker vanished after its claim, and the agent must not be called twice.
    Interrupted,
    /// Lost under a worker too often.
    Undeliverable,
    /// It ran longer than allowed.
    TimedOut,
    /// Nobody took it in time.
    QueueTimedOut,
    /// Its command does not fit into a message.
    TooLarge,
}

/// What the sweeper does about an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Publish it (again) under the same dispatch number.
    Publish,
    /// Write this row, then publish it.
    Redispatch(AttemptRow),
    /// Tell the engine.
    GiveUp(Loss),
}

impl AttemptRow {
    /// Takes the attempt for `worker`. Asked again by the same worker, it grants again.
    ///
    /// # Errors
    /// Names why it is not granted.
    pub fn claim(&self, fence: u64, worker: &str, now: Timestamp) -> Result<Self, Refusal> {
        let again =
            self.claimed && self.worker.as_deref() == Some(worker) && fence + 1 == self.fence;
        if again {
            return Ok(Self { lease_until: Some(now.plus_ms(self.lease_ms)), ..self.clone() });
        }
        if self.claimed {
            return Err(Refusal::HeldByAnother);
        }
        if fence != self.fence {
            return Err(Refusal::StaleFence);
        }
        Ok(Self {
            fence: self.fence + 1,
            claimed: true,
            worker: Some(worker.to_owned()),
            leased_at: Some(now),
            lease_until: Some(now.plus_ms(self.lease_ms)),
            ..self.clone()
        })
    }

    /// Extends the lease; the first heartbeat of an unclaimed attempt makes it leased.
    ///
    /// # Errors
    /// Names why it does not count.
    pub fn heartbeat(&self, fence: u64, worker: &str, now: Timestamp) -> Result<Self, Refusal> {
        if fence != self.fence {
            return Err(Refusal::StaleFence);
        }
        if self.claim && !self.claimed {
            return Err(Refusal::NotClaimed);
        }
        // Without a claim nobody is excluded: a worker that stops hands its command back to the queue, and
        // whoever takes it there is the holder.
        if self.claim && self.worker.as_deref().is_some_and(|holder| holder != worker) {
            return Err(Refusal::HeldByAnother);
        }
        Ok(Self {
            worker: Some(worker.to_owned()),
            leased_at: self.leased_at.or(Some(now)),
            lease_until: Some(now.plus_ms(self.lease_ms)),
            ..self.clone()
        })
    }

    /// Whether a result under `fence` counts.
    ///
    /// # Errors
    /// Names why it does not.
    pub fn accept(&self, fence: u64) -> Result<(), Refusal> {
        match fence == self.fence {
            true if self.claim && !self.claimed => Err(Refusal::NotClaimed),
            true => Ok(()),
            false => Err(Refusal::StaleFence),
        }
    }

    /// What is to be done about the attempt now. `lane` is what JetStream said after this row was
    /// read, none when it could not be asked.
    #[must_use]
    pub fn sweep(&self, lane: Option<&Lane>, now: Timestamp) -> Verdict {
        if now < self.due_at {
            return Verdict::Keep;
        }
        match self.lease_until {
            Some(lease_until) => self.sweep_leased(lease_until, now),
            None => self.sweep_queued(lane, now),
        }
    }

    /// What is to be done about the attempt when it is known that whoever had its command is gone.
    #[must_use]
    pub fn lose(&self, now: Timestamp) -> Verdict {
        if self.claimed && !self.idempotent {
            return Verdict::GiveUp(Loss::Interrupted);
        }
        self.redispatch_lost(now)
    }

    fn sweep_leased(&self, lease_until: Timestamp, now: Timestamp) -> Verdict {
        // A vanished worker comes before a slow one: who looks late must not take it for a time-out,
        // which may be tried again.
        if now > lease_until {
            return self.lose(now);
        }
        // The worker enforces the limit itself; a lease on top lets its own report arrive first.
        let limit_ms = self.timeout_ms.saturating_add(self.lease_ms);
        if self.leased_at.is_some_and(|leased_at| now.ms_since(leased_at) > limit_ms) {
            return Verdict::GiveUp(Loss::TimedOut);
        }
        Verdict::Keep
    }

    fn sweep_queued(&self, lane: Option<&Lane>, now: Timestamp) -> Verdict {
        if self.queue_timeout_ms.is_some_and(|limit| now.ms_since(self.due_at) > limit) {
            return Verdict::GiveUp(Loss::QueueTimedOut);
        }
        let Some(published) = self.published else {
            let overdue = now.ms_since(self.due_at) > PUBLISH_GRACE_MS;
            return if overdue { Verdict::Publish } else { Verdict::Keep };
        };
        let Some(lane) = lane else { return Verdict::Keep };
        let same_stream = lane.stream_created_micros == Some(published.stream_created_micros)
            && lane.last_sequence >= published.sequence;
        if !same_stream {
            // The stream is gone, and the message with it: nobody's fault, so nothing is counted.
            return Verdict::Redispatch(self.next_dispatch(now));
        }
        // The row was read before the lane, and a result is recorded before its command is
        // acknowledged: a settled message without a result can only be one a worker lost.
        if lane.is_idle || lane.ack_floor >= published.sequence {
            return self.redispatch_lost(now);
        }
        Verdict::Keep
    }

    fn redispatch_lost(&self, now: Timestamp) -> Verdict {
        if self.lost + 1 >= MAX_LOST_DISPATCHES {
            return Verdict::GiveUp(Loss::Undeliverable);
        }
        // A new fence: whatever the former holder still sends is refused.
        Verdict::Redispatch(Self {
            fence: self.fence + 1,
            lost: self.lost + 1,
            ..self.next_dispatch(now)
        })
    }

    /// It queues anew: time in the queue and the grace of the publish count from now.
    fn next_dispatch(&self, now: Timestamp) -> Self {
        Self {
            dispatch: self.dispatch + 1,
            due_at: now,
            worker: None,
            claimed: false,
            leased_at: None,
            lease_until: None,
            published: None,
            ..self.clone()
        }
    }
}
