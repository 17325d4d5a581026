//! A stream that acknowledges, and may lose, repeat, reorder and forget nevertheless.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use sluice_engine::attempt::{Lane, Published};
use sluice_proto::message::CommandKind;

use super::database::Key;
use super::rng::Rng;

/// How long an unacknowledged message stays with a worker, milliseconds.
pub(crate) const ACK_WAIT_MS: u64 = 30_000;
/// Deliveries of one message.
const MAX_DELIVER: u32 = 8;

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) key: Key,
    pub(crate) dispatch: u32,
    pub(crate) fence: u64,
    pub(crate) claim: bool,
    pub(crate) idempotent: bool,
    pub(crate) kind: CommandKind,
    pub(crate) lane: usize,
    pub(crate) lease_ms: u64,
    pub(crate) timeout_ms: u64,
}

/// What a delivery is settled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    created: i64,
    sequence: u64,
}

struct Stored {
    message: Rc<Message>,
    /// Not delivered before: published late, handed back, or with a worker.
    ready_at: u64,
    deliveries: u32,
}

pub(crate) struct JetStream {
    pub(crate) exists: bool,
    pub(crate) created: i64,
    last_sequence: u64,
    messages: BTreeMap<u64, Stored>,
    seen: HashMap<(Key, u32), u64>,
    settled_up_to: HashMap<usize, u64>,
}

impl JetStream {
    pub(crate) fn new() -> Self {
        Self {
            exists: true,
            created: 1,
            last_sequence: 0,
            messages: BTreeMap::new(),
            seen: HashMap::new(),
            settled_up_to: HashMap::new(),
        }
    }

    /// Stores a message unless its id was seen; gives its sequence, and whether it was new.
    pub(crate) fn publish(&mut self, message: Rc<Message>, ready_at: u64) -> (u64, bool) {
        let id = (message.key.clone(), message.dispatch);
        if let Some(sequence) = self.seen.get(&id) {
            return (*sequence, false);
        }
        self.last_sequence += 1;
        self.seen.insert(id, self.last_sequence);
        self.messages.insert(self.last_sequence, Stored { message, ready_at, deliveries: 0 });
        (self.last_sequence, true)
    }

    /// Hands one message out; mostly the oldest, of the urgent lanes first.
    pub(crate) fn pull(&mut self, now: u64, rng: &mut Rng) -> Option<(Receipt, Rc<Message>)> {
        let ready: Vec<u64> = self
            .messages
            .iter()
            .filter(|(_, stored)| stored.ready_at <= now)
            .map(|(sequence, _)| *sequence)
            .collect();
        let urgent = ready.iter().find(|sequence| self.messages[*sequence].message.lane % 2 == 1);
        let first = *urgent.or(ready.first())?;
        let sequence = if rng.chance(0.2) { *rng.pick(&ready) } else { first };
        let stored = self.messages.get_mut(&sequence)?;
        if stored.deliveries >= MAX_DELIVER {
            self.settle(sequence);
            return None;
        }
        stored.deliveries += 1;
        stored.ready_at = now + ACK_WAIT_MS;
        Some((Receipt { created: self.created, sequence }, Rc::clone(&stored.message)))
    }

    fn find(&mut self, receipt: Receipt) -> Option<&mut Stored> {
        let same = receipt.created == self.created && self.exists;
        self.messages.get_mut(&receipt.sequence).filter(|_| same)
    }

    fn settle(&mut self, sequence: u64) {
        if let Some(stored) = self.messages.remove(&sequence) {
            let up_to = self.settled_up_to.entry(stored.message.lane).or_default();
            *up_to = sequence.max(*up_to);
        }
    }

    pub(crate) fn ack(&mut self, receipt: Receipt) {
        if self.find(receipt).is_some() {
            self.settle(receipt.sequence);
        }
    }

    /// Delivered again at `ready_at`: handed back, or kept by a sign of life.
    pub(crate) fn postpone(&mut self, receipt: Receipt, ready_at: u64) {
        if let Some(stored) = self.find(receipt) {
            stored.ready_at = ready_at;
        }
    }

    /// What the consumer of a lane says.
    pub(crate) fn lane(&self, lane: usize) -> Lane {
        let mut open = self.messages.iter().filter(|(_, stored)| stored.message.lane == lane);
        let first_open = open.next().map(|(sequence, _)| *sequence);
        let settled = self.settled_up_to.get(&lane).copied().unwrap_or(0);
        Lane {
            stream_created_micros: self.exists.then_some(self.created),
            last_sequence: self.last_sequence,
            ack_floor: first_open.map_or(settled, |first| settled.min(first - 1)),
            is_idle: first_open.is_none(),
        }
    }

    /// Whether the message that was stored there can still be delivered.
    pub(crate) fn holds(&self, key: &Key, dispatch: u32, published: Published) -> bool {
        let same =
            |stored: &Stored| stored.message.key == *key && stored.message.dispatch == dispatch;
        self.exists
            && self.created == published.stream_created_micros
            && self.messages.get(&published.sequence).is_some_and(same)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn lose_all(&mut self) {
        *self = Self { exists: false, created: self.created, ..Self::new() };
    }

    pub(crate) fn make_anew(&mut self, created: i64) {
        *self = Self { created, ..Self::new() };
    }

    pub(crate) fn forget_seen(&mut self) {
        self.seen.clear();
    }

    /// Loses acknowledged messages: one anywhere, or the newest, as after a failed-over leader.
    pub(crate) fn lose_some(&mut self, rng: &mut Rng) {
        let sequences: Vec<u64> = self.messages.keys().copied().collect();
        if sequences.is_empty() {
            return;
        }
        if rng.chance(0.5) {
            self.messages.remove(rng.pick(&sequences));
            return;
        }
        let kept = self.last_sequence.saturating_sub(rng.between(1, 3));
        self.messages.retain(|sequence, _| *sequence <= kept);
        self.seen.retain(|_, sequence| *sequence <= kept);
        self.last_sequence = kept;
        for settled in self.settled_up_to.values_mut() {
            *settled = (*settled).min(kept);
        }
    }

    /// Delivers something again although nobody gave it back.
    pub(crate) fn repeat_some(&mut self, now: u64, rng: &mut Rng) {
        let sequences: Vec<u64> = self.messages.keys().copied().collect();
        if sequences.is_empty() {
            return;
        }
        if let Some(stored) = self.messages.get_mut(rng.pick(&sequences)) {
            stored.ready_at = now;
        }
    }
}
