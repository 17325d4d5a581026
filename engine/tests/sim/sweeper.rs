//! Rows first, JetStream then, the consequence last; anything may happen in between.

use std::collections::BTreeMap;
use std::rc::Rc;

use sluice_engine::Input;
use sluice_engine::attempt::{AttemptRow, Verdict};

use super::breakage;
use super::database::{Key, StoredAttempt};
use super::item::{Item, ReplyTo, Work};
use super::world::{Duty, World};

/// Time between two sweeps, milliseconds.
const EVERY_MS: u64 = 4_000;

/// An attempt as it was read, and what is to be done about it.
pub(crate) struct Found {
    key: Key,
    read: AttemptRow,
    verdict: Verdict,
}

impl World<'_> {
    pub(crate) fn sweep(&mut self, who: usize) {
        let now = self.moment();
        let due = self.database.attempts.iter().filter(|(_, stored)| stored.row.due_at <= now);
        let found: Vec<Found> = due
            .map(|(key, stored)| {
                let (key, read) = (key.clone(), stored.row.clone());
                Found { key, read, verdict: Verdict::Keep }
            })
            .collect();
        self.end_waits(who);
        self.ring(who);
        let next = self.rng.between(EVERY_MS / 2, EVERY_MS * 2);
        self.coordinator_after(next, who, Duty::Sweep);
        if !found.is_empty() {
            let delay = self.rng.between(1, 50);
            self.coordinator_after(delay, who, Duty::Look(found));
            self.coordinator_may_sleep(who);
        }
    }

    /// Waits for locks that took too long.
    fn end_waits(&mut self, who: usize) {
        let now = self.moment();
        let mut over = Vec::new();
        for (name, row) in &self.database.locks {
            let late = row.waiters.iter().filter(|w| w.wait_until.is_some_and(|until| until < now));
            over.extend(late.map(|waiter| {
                let (step, name) = (waiter.step.clone(), name.clone());
                let work = Work::Given(Input::LockTimedOut { step, name });
                Item { run: waiter.run, work, reply_to: ReplyTo::Nobody }
            }));
        }
        self.coordinators[who].inbox.extend(over);
        self.call_batch(who);
    }

    /// Moments that have come.
    fn ring(&mut self, who: usize) {
        let now = self.moment();
        let due = self.database.timers.iter().filter(|(.., due_at)| *due_at <= now);
        let items: Vec<Item> = due
            .map(|(run, step, visit, _)| {
                let work = Work::Given(Input::TimerDue { step: step.clone(), visit: *visit });
                Item { run: *run, work, reply_to: ReplyTo::Nobody }
            })
            .collect();
        self.coordinators[who].inbox.extend(items);
        self.call_batch(who);
    }

    pub(crate) fn look(&mut self, who: usize, mut found: Vec<Found>) {
        if self.stream.exists {
            self.coordinators[who].known_stream = self.stream.created;
        }
        let now = self.moment();
        let lanes: Vec<_> = (0..self.scenery.lanes()).map(|lane| self.stream.lane(lane)).collect();
        for one in &mut found {
            let Some(stored) = self.database.attempts.get(&one.key) else { continue };
            one.verdict = breakage::sweep(self.breakage, &one.read, &lanes[stored.lane], now);
            self.check_verdict(&one.key, &one.read, &one.verdict);
        }
        found.retain(|one| one.verdict != Verdict::Keep);
        if !found.is_empty() {
            let delay = self.rng.between(0, 30);
            self.coordinator_after(delay, who, Duty::Act(found));
            self.coordinator_may_sleep(who);
        }
    }

    pub(crate) fn act(&mut self, who: usize, found: Vec<Found>) {
        let mut publish: BTreeMap<Key, StoredAttempt> = BTreeMap::new();
        for Found { key, read, verdict } in found {
            match verdict {
                Verdict::Keep => {}
                Verdict::Publish => {
                    let same = |stored: &&StoredAttempt| stored.row.dispatch == read.dispatch;
                    if let Some(stored) = self.database.attempts.get(&key).filter(same) {
                        self.counts.count("unmarked publishes repeated");
                        publish.insert(key, stored.clone());
                    }
                }
                Verdict::Redispatch(row) => {
                    let Some(stored) = self.database.attempts.get_mut(&key) else { continue };
                    let watched = |row: &AttemptRow| (row.fence, row.dispatch, row.lease_until);
                    if watched(&stored.row) != watched(&read) {
                        continue;
                    }
                    stored.row = row;
                    let stored = stored.clone();
                    self.counts.count("redispatches");
                    self.note(|| format!("coordinator {who} redispatches {key}, was {read:?}"));
                    self.check_dispatches(&key, &read);
                    publish.insert(key, stored);
                }
                Verdict::GiveUp(loss) => {
                    self.note(|| format!("coordinator {who} gives {key} up: {loss:?}"));
                    let work = Work::Lost { key: key.clone(), row: Rc::new(read), loss };
                    let item = Item { run: key.run, work, reply_to: ReplyTo::Nobody };
                    self.coordinators[who].inbox.push_back(item);
                }
            }
        }
        self.queue_dispatches(who, &publish);
        self.call_batch(who);
    }
}
