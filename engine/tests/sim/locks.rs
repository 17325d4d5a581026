//! Locks, in the transaction of the events that speak of them.

use sluice_engine::{Input, WishedLock};
use sluice_proto::event::Status;

use super::breakage::Breakage;
use super::database::Waiter;
use super::intake::{Working, workflow_id};
use super::world::World;

pub(crate) enum LockOp {
    Request { run: usize, wish: WishedLock },
    Withdraw { run: usize, wish: WishedLock },
    Release { run: usize, name: String },
}

impl World<'_> {
    /// Does what the batch wants done about locks, and what follows from it, until nothing does.
    pub(crate) fn settle_locks(&mut self, who: usize, working: &mut Working) {
        while !working.lock_ops.is_empty() {
            let mut ops = std::mem::take(&mut working.lock_ops);
            // Releases first: whoever asks in the same batch finds the queue as it will be.
            ops.sort_by_key(|op| !matches!(op, LockOp::Release { .. }));
            for op in ops {
                self.settle_one(who, working, op);
            }
        }
        if self.breakage == Some(Breakage::LockReleasedAtPause) {
            self.release_at_pause(who, working);
        }
    }

    fn settle_one(&mut self, who: usize, working: &mut Working, op: LockOp) {
        match op {
            LockOp::Release { run, name } => {
                let row = self.database.locks.entry(name.clone()).or_default();
                if row.owner == Some(run) {
                    row.owner = None;
                }
                self.hand_over(who, working, &name);
            }
            LockOp::Withdraw { run, wish } => {
                if let Some(row) = self.database.locks.get_mut(&wish.name) {
                    row.waiters.retain(|waiter| !(waiter.run == run && waiter.step == wish.step));
                }
            }
            LockOp::Request { run, wish } => {
                let urgent = self.scenery.templates[self.runs[&run]].urgent;
                self.database.tickets += 1;
                let ticket = self.database.tickets;
                let row = self.database.locks.entry(wish.name.clone()).or_default();
                let waits = |waiter: &Waiter| waiter.run == run && waiter.step == wish.step;
                if !row.waiters.iter().any(waits) {
                    let (step, wait_until) = (wish.step.clone(), wish.wait_until);
                    row.waiters.push_back(Waiter { run, step, wait_until, urgent, ticket });
                }
                self.hand_over(who, working, &wish.name);
                let owner = self.database.locks[&wish.name].owner;
                let state = &working.runs[&run].state;
                // The run may hold it for another of its branches.
                if state.locks.get(&wish.name).is_some_and(|held| held.step == wish.step) {
                    return;
                }
                let holder = owner.map(workflow_id);
                let input = Input::LockQueued { step: wish.step, name: wish.name, holder };
                // A refusal means that the run has moved on; that move withdraws its request.
                let _ = self.advance(working, run, input, None);
            }
        }
    }

    /// Gives a free lock to the first in the queue who still wants it.
    fn hand_over(&mut self, who: usize, working: &mut Working, name: &str) {
        loop {
            let Some(row) = self.database.locks.get_mut(name) else { return };
            if row.owner.is_some() {
                return;
            }
            let first = (0..row.waiters.len()).min_by_key(|n| row.waiters[*n].turn());
            let Some(waiter) = first.and_then(|n| row.waiters.remove(n)) else { return };
            let fencing_number = row.fencing_number + 1;
            if row.waiters.iter().any(|other| other.turn() < waiter.turn()) {
                self.checker.fail(format!(
                    "lock '{name}' is not given in the order of priority and asking"
                ));
            }
            self.read_fresh(who, working, waiter.run);
            let input =
                Input::LockGranted { step: waiter.step, name: name.to_owned(), fencing_number };
            if self.advance(working, waiter.run, input, None).is_ok()
                && let Some(row) = self.database.locks.get_mut(name)
            {
                row.owner = Some(waiter.run);
                row.fencing_number = fencing_number;
                self.counts.count("locks granted");
            }
        }
    }

    /// Runs that join a batch inside its transaction are read in it.
    pub(super) fn read_fresh(&mut self, who: usize, working: &mut Working, run: usize) {
        self.coordinators[who].cache.remove(&run);
        self.load(who, working, run);
    }

    fn release_at_pause(&mut self, who: usize, working: &mut Working) {
        let paused = working.runs.iter().filter(|(_, run)| run.state.status == Status::Paused);
        let paused: Vec<usize> = paused.map(|(run, _)| *run).collect();
        let owned = |owner: Option<usize>| owner.is_some_and(|run| paused.contains(&run));
        let rows = self.database.locks.iter_mut().filter(|(_, row)| owned(row.owner));
        let names: Vec<String> = rows
            .map(|(name, row)| {
                row.owner = None;
                name.clone()
            })
            .collect();
        for name in names {
            self.hand_over(who, working, &name);
        }
    }
}
