//! The rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use sluice_engine::State;
use sluice_engine::attempt::AttemptRow;
use sluice_engine::breaker::Breakers;
use sluice_proto::event::Event;
use sluice_proto::message::CommandKind;
use sluice_proto::timestamp::Timestamp;

use super::family::ChildWait;

/// Names an attempt. `run` stands for the workflow id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) run: usize,
    pub(crate) path: Rc<str>,
    pub(crate) visit: u32,
    pub(crate) attempt: u32,
}

impl Key {
    /// The step around which the work is.
    pub(crate) fn step(&self) -> &str {
        // Between the ids of steps stand branches; engine work has one more part.
        match self.path.rsplit_once('.') {
            Some((step, _)) if self.path.split('.').count().is_multiple_of(2) => step,
            _ => &self.path,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "run-{}:{}:{}:{}", self.run, self.path, self.visit, self.attempt)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredAttempt {
    pub(crate) row: AttemptRow,
    pub(crate) lane: usize,
    pub(crate) kind: CommandKind,
}

pub(crate) struct RunRow {
    pub(crate) state: Rc<State>,
    pub(crate) events: Vec<Event>,
    /// A fold of the events, kept next to the live state to be compared with it.
    pub(crate) replayed: State,
}

#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) run: usize,
    pub(crate) step: String,
    pub(crate) wait_until: Option<Timestamp>,
    /// Before all that are not.
    pub(crate) urgent: bool,
    /// Order of asking.
    pub(crate) ticket: u64,
}

impl Waiter {
    /// Who has a lower one gets the lock first.
    pub(crate) fn turn(&self) -> (bool, u64) {
        (!self.urgent, self.ticket)
    }
}

#[derive(Debug, Default)]
pub(crate) struct LockRow {
    pub(crate) owner: Option<usize>,
    pub(crate) fencing_number: u64,
    pub(crate) waiters: VecDeque<Waiter>,
}

#[derive(Default)]
pub(crate) struct Database {
    pub(crate) runs: BTreeMap<usize, RunRow>,
    pub(crate) attempts: BTreeMap<Key, StoredAttempt>,
    pub(crate) locks: BTreeMap<String, LockRow>,
    /// Open approvals and their runs.
    pub(crate) approvals: BTreeMap<String, usize>,
    pub(crate) tickets: u64,
    /// By template, with a number that every write moves on.
    pub(crate) breakers: BTreeMap<usize, (u64, Breakers)>,
    pub(crate) timers: BTreeSet<Timer>,
    pub(crate) child_waits: BTreeSet<ChildWait>,
}

/// Run, step, visit and moment.
pub(crate) type Timer = (usize, String, u32, Timestamp);

impl Database {
    pub(crate) fn sequence(&self, run: usize) -> u64 {
        self.runs.get(&run).map_or(0, |row| row.state.sequence)
    }

    /// The attempts of one run.
    pub(crate) fn attempts_of(&self, run: usize) -> impl Iterator<Item = (&Key, &StoredAttempt)> {
        let first = Key { run, path: Rc::from(""), visit: 0, attempt: 0 };
        self.attempts.range(first..).take_while(move |(key, _)| key.run == run)
    }
}
