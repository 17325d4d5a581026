//! Publishes attempts and notes where their messages are.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::database::{Key, StoredAttempt};
use super::jetstream::Message;
use super::world::{Duty, World};

/// One command to publish.
#[derive(Clone)]
pub(crate) struct Dispatch {
    pub(crate) message: Rc<Message>,
    due_at: u64,
}

impl World<'_> {
    pub(crate) fn queue_dispatches(&mut self, who: usize, attempts: &BTreeMap<Key, StoredAttempt>) {
        for (key, stored) in attempts {
            let due_at = self.now + stored.row.due_at.ms_since(self.moment());
            let dispatch = Dispatch { message: Rc::new(message(key, stored)), due_at };
            self.coordinators[who].outbox.push(dispatch);
            let delay = self.rng.between(1, 20);
            let wait = due_at.saturating_sub(self.now);
            self.coordinator_after(wait + delay, who, Duty::Publish);
        }
    }

    pub(crate) fn publish_due(&mut self, who: usize) {
        let now = self.now;
        let outbox = std::mem::take(&mut self.coordinators[who].outbox);
        let (due, later): (Vec<_>, Vec<_>) =
            outbox.into_iter().partition(|dispatch| dispatch.due_at <= now);
        self.coordinators[who].outbox = later;
        for dispatch in due {
            if self.rng.chance(self.weather.crash_in_dispatch) {
                return self.crash_coordinator(who);
            }
            self.publish(who, dispatch);
        }
    }

    fn publish(&mut self, who: usize, dispatch: Dispatch) {
        if !self.stream.exists {
            self.counts.count("publishes failed");
            return;
        }
        let late = if self.rng.chance(self.weather.late) { self.rng.between(1, 90_000) } else { 0 };
        let message = &dispatch.message;
        let (sequence, is_new) = self.stream.publish(Rc::clone(message), self.now + late);
        let (key, number) = (&message.key, message.dispatch);
        let name = if is_new { "messages" } else { "publishes swallowed by the dedupe window" };
        self.counts.count(name);
        let line = format!("coordinator {who} publishes {key} dispatch {number} at {sequence}");
        self.note(|| line);
        let worker = self.rng.below(self.workers.len());
        let delay = self.rng.between(1, 30);
        self.call_pull(worker, late + delay);
        if self.rng.chance(self.weather.publish_unanswered) {
            return;
        }
        // Read before the publish, and not every time.
        let created = match self.coordinators[who].known_stream {
            known if known > 0 && self.rng.chance(self.weather.stale) => known,
            _ => self.stream.created,
        };
        self.coordinators[who].known_stream = created;
        let delay = self.rng.between(50, 300);
        self.coordinator_after(delay, who, Duty::Mark(dispatch, created, sequence));
    }

    pub(crate) fn mark(&mut self, dispatch: &Dispatch, created: i64, sequence: u64) {
        let message = &dispatch.message;
        if let Some(stored) = self.database.attempts.get_mut(&message.key)
            && stored.row.dispatch == message.dispatch
        {
            let stream_created_micros = created;
            stored.row.published =
                Some(sluice_engine::attempt::Published { stream_created_micros, sequence });
        }
    }
}

fn message(key: &Key, stored: &StoredAttempt) -> Message {
    Message {
        key: key.clone(),
        dispatch: stored.row.dispatch,
        fence: stored.row.fence,
        claim: stored.row.claim,
        idempotent: stored.row.idempotent,
        kind: stored.kind,
        lane: stored.lane,
        lease_ms: stored.row.lease_ms,
        timeout_ms: stored.row.timeout_ms,
    }
}
