//! Inputs of several runs: read, decide; then, some time later, one transaction.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use sluice_engine::attempt::{AttemptRow, Loss};
use sluice_engine::breaker::{BreakerChange, Breakers};
use sluice_engine::lesson::Lessons;
use sluice_engine::{
    Advance, AttemptDraft, Effect, Input, NewEvent, Refused, Report, Situation, State, advance,
    replay,
};
use sluice_proto::event::{EVENT_VERSION, Event, Status};
use sluice_proto::ids::WorkflowId;
use sluice_proto::message::Refusal;

use super::breakage::{self, Breakage};
use super::database::{Key, RunRow, StoredAttempt, Timer};
use super::family::FamilyOp;
use super::item::{Item, ReplyTo, Work};
use super::locks::LockOp;
use super::worker::Answer;
use super::world::{Duty, Toil, World};

/// Inputs in one transaction.
const MAX_BATCH: usize = 6;
/// Length of a lease, milliseconds.
const LEASE_MS: u64 = 10_000;

/// A run in the hands of a batch.
pub(crate) struct WorkingRun {
    pub(crate) state: Rc<State>,
    /// Sequence it was read at.
    read_at: u64,
    pub(crate) events: Vec<Event>,
}

impl WorkingRun {
    pub(crate) fn new(state: Rc<State>) -> Self {
        let read_at = state.sequence;
        Self { state, read_at, events: Vec::new() }
    }
}

/// An attempt that an input of the batch settles.
pub(crate) struct Settled {
    /// As the input names it.
    pub(crate) named: Key,
    /// The row it was taken for.
    pub(crate) row: Key,
    /// Fence and worker of a result.
    pub(crate) by: Option<(u64, Rc<str>)>,
    pub(crate) loss: Option<Loss>,
}

/// What a row must still be when it is deleted.
#[derive(Clone)]
pub(crate) enum Guard {
    /// Anything: the run has moved on.
    None,
    /// A result counts under its fence; a heartbeat in between changes nothing.
    Fence(u64),
    /// A loss counts only if no claim and no heartbeat came in between.
    Row(Rc<AttemptRow>),
}

impl Guard {
    fn holds(&self, row: Option<&AttemptRow>) -> bool {
        match self {
            Self::None => true,
            Self::Fence(fence) => row.is_some_and(|row| row.fence == *fence),
            Self::Row(read) => row == Some(&**read),
        }
    }
}

/// Everything that a batch is about to write.
#[derive(Default)]
pub(crate) struct Working {
    items: Vec<Item>,
    verdicts: Vec<Result<(), Refusal>>,
    pub(crate) runs: BTreeMap<usize, WorkingRun>,
    pub(crate) created: BTreeMap<Key, StoredAttempt>,
    pub(crate) deleted: Vec<(Key, Guard)>,
    pub(crate) settled: Vec<Settled>,
    pub(crate) lock_ops: Vec<LockOp>,
    pub(crate) family_ops: VecDeque<FamilyOp>,
    /// Breakers by template: the number they were read at, what the batch makes of them, whether it does.
    pub(crate) breakers: BTreeMap<usize, (u64, Breakers, bool)>,
    opened: Vec<(String, usize)>,
    closed: Vec<String>,
    timers_started: Vec<Timer>,
    timers_stopped: Vec<Timer>,
}

impl World<'_> {
    pub(crate) fn deliver_input(&mut self, item: Item) {
        let Some(who) = self.any_coordinator() else { return };
        self.coordinators[who].inbox.push_back(item);
        self.call_batch(who);
    }

    pub(crate) fn call_batch(&mut self, who: usize) {
        let coordinator = &mut self.coordinators[who];
        if coordinator.is_called || coordinator.batch.is_some() || coordinator.inbox.is_empty() {
            return;
        }
        coordinator.is_called = true;
        let delay = self.rng.between(1, 30);
        self.coordinator_after(delay, who, Duty::Batch);
    }

    pub(crate) fn read_and_decide(&mut self, who: usize) {
        let coordinator = &mut self.coordinators[who];
        coordinator.is_called = false;
        let count = coordinator.inbox.len().min(MAX_BATCH);
        let items: Vec<Item> = coordinator.inbox.drain(..count).collect();
        let mut working = Working::default();
        for item in &items {
            let verdict = self.apply(who, &mut working, item);
            if let (Err(refusal), Work::Result { .. } | Work::Lost { .. }) = (verdict, &item.work) {
                self.counts.refuse(refusal);
            }
            working.verdicts.push(verdict);
        }
        working.items = items;
        self.coordinators[who].batch = Some(working);
        let delay = self.rng.between(1, 60);
        self.coordinator_after(delay, who, Duty::Commit);
        self.coordinator_may_sleep(who);
    }

    /// Takes a run into the batch, from the cache without a look at the row when the seed says so.
    pub(crate) fn load(&mut self, who: usize, working: &mut Working, run: usize) {
        if working.runs.contains_key(&run) {
            return;
        }
        let cached = self.coordinators[who].cache.get(&run);
        let cached = cached.filter(|_| self.rng.chance(self.weather.stale)).cloned();
        let stored = || self.database.runs.get(&run).map(|row| Rc::clone(&row.state));
        let state = cached.or_else(stored).unwrap_or_else(|| Rc::new(State::new(workflow_id(run))));
        working.runs.insert(run, WorkingRun::new(state));
    }

    fn apply(&mut self, who: usize, working: &mut Working, item: &Item) -> Result<(), Refusal> {
        let run = item.run;
        match &item.work {
            Work::Given(input) => {
                self.load(who, working, run);
                if !matches!(input, Input::Start { .. }) && working.runs[&run].state.sequence == 0 {
                    return Err(Refusal::NotOutstanding);
                }
                let done = self.advance(working, run, input.clone(), None);
                done.map_err(|refused| self.refused_input(&refused))
            }
            Work::Result { key, fence, worker, report } => {
                let row = self.outstanding(key).ok_or(Refusal::NotOutstanding)?;
                let stored = &self.database.attempts[&row];
                breakage::accept(self.breakage, &stored.row, *fence)?;
                let read_fence = stored.row.fence;
                let input = Input::Result {
                    path: row.path.to_string(),
                    visit: row.visit,
                    attempt: row.attempt,
                    report: Report::clone(report),
                };
                self.load(who, working, run);
                let guard = Guard::Fence(read_fence);
                let done = self.advance(working, run, input, Some((&row, guard)));
                done.map_err(|_| Refusal::NotOutstanding)?;
                let by = Some((*fence, Rc::clone(worker)));
                working.settled.push(Settled { named: key.clone(), row, by, loss: None });
                Ok(())
            }
            Work::Lost { key, row, loss } => {
                let same = |stored: &&StoredAttempt| stored.row == **row;
                self.database.attempts.get(key).filter(same).ok_or(Refusal::StaleFence)?;
                let input = Input::Lost {
                    path: key.path.to_string(),
                    visit: key.visit,
                    attempt: key.attempt,
                    loss: *loss,
                };
                self.load(who, working, run);
                let guard = Guard::Row(Rc::clone(row));
                let done = self.advance(working, run, input, Some((key, guard)));
                done.map_err(|_| Refusal::NotOutstanding)?;
                let row = key.clone();
                working.settled.push(Settled {
                    named: row.clone(),
                    row,
                    by: None,
                    loss: Some(*loss),
                });
                Ok(())
            }
        }
    }

    fn refused_input(&mut self, refused: &Refused) -> Refusal {
        self.counts.refuse(match refused {
            Refused::SameApprover(_) => "SameApprover".to_owned(),
            Refused::RetriesUsedUp { .. } => "RetriesUsedUp".to_owned(),
            other => format!("{other:?}"),
        });
        Refusal::NotOutstanding
    }

    /// The row that a result is for.
    fn outstanding(&self, key: &Key) -> Option<Key> {
        if self.database.attempts.contains_key(key) {
            return Some(key.clone());
        }
        let broken = self.breakage == Some(Breakage::AnyResult);
        let mut others = self.database.attempts_of(key.run).map(|(other, _)| other);
        others.find(|other| broken && other.path == key.path).cloned()
    }

    /// Advances a run in the batch by one input.
    pub(crate) fn advance(
        &mut self,
        working: &mut Working,
        run: usize,
        input: Input,
        settled: Option<(&Key, Guard)>,
    ) -> Result<(), Refused> {
        let template = self.runs[&run];
        let Some(working_run) = working.runs.get_mut(&run) else { return Ok(()) };
        let (_, breakers, _) = working.breakers.entry(template).or_insert_with(|| {
            let (version, breakers) = self.database.breakers.entry(template).or_default();
            (*version, breakers.clone(), false)
        });
        let breakers = breakers.clone();
        let situation = Situation {
            breakers: &breakers,
            lessons: &Lessons::new(),
            template: &self.scenery.templates[template],
            agents: &self.scenery.agents,
            now: self.moment(),
            jitter: self.rng.share() * 2.0 - 1.0,
        };
        let cancelled = match &input {
            Input::Cancel(cancel) => Some(cancel.force),
            _ => None,
        };
        let Advance { state, events, effects } = advance(&situation, &working_run.state, input)?;
        if let Some(force) = cancelled {
            let open = |status| matches!(status, Status::Running | Status::Failed);
            let children = state.children.iter().filter(|child| open(child.status));
            let ops =
                children.map(|child| FamilyOp::Cancel { child: child.workflow_id.clone(), force });
            working.family_ops.extend(ops);
        }
        let ends = !working_run.state.status.is_terminal() && state.status.is_terminal();
        if ends && self.parents.contains_key(&run) {
            working.family_ops.push_back(FamilyOp::Tell { child: run });
        }
        let mut sequence = working_run.state.sequence;
        for event in events {
            sequence += 1;
            working_run.events.push(record(&state, sequence, event, situation.now));
        }
        working_run.state = Rc::new(state);
        for effect in effects {
            self.note_effect(working, run, effect, settled.as_ref());
        }
        Ok(())
    }

    fn note_effect(
        &mut self,
        working: &mut Working,
        run: usize,
        effect: Effect,
        settled: Option<&(&Key, Guard)>,
    ) {
        match effect {
            Effect::CreateAttempt(draft) => {
                let key = Key {
                    run,
                    path: Rc::from(draft.wish.path.as_str()),
                    visit: draft.wish.visit,
                    attempt: draft.wish.attempt,
                };
                working.created.insert(key, self.stored_attempt(&draft));
            }
            Effect::DropAttempt(wish) => {
                let path = Rc::from(wish.path.as_str());
                let key = Key { run, path, visit: wish.visit, attempt: wish.attempt };
                if working.created.remove(&key).is_none() {
                    let guard = settled.filter(|(settled, _)| **settled == key);
                    let guard = guard.map_or(Guard::None, |(_, guard)| guard.clone());
                    working.deleted.push((key, guard));
                }
            }
            Effect::RequestLock(wish) => working.lock_ops.push(LockOp::Request { run, wish }),
            Effect::WithdrawLockRequest(wish) => {
                working.lock_ops.push(LockOp::Withdraw { run, wish });
            }
            Effect::ReleaseLock(name) => working.lock_ops.push(LockOp::Release { run, name }),
            Effect::OpenApproval(id) => working.opened.push((id, run)),
            Effect::CloseApproval(id) => working.closed.push(id),
            Effect::ChangeBreaker { step, change } => {
                self.change_breaker(working, run, &step, &change);
            }
            // Nothing that a run does depends on it.
            Effect::Learn { .. } => self.counts.count("lessons"),
            Effect::StartChild { wish, context } => {
                working.family_ops.push_back(FamilyOp::Start { parent: run, wish, context });
            }
            Effect::LeaveChild(wish) => {
                let child = wish.workflow_id;
                working.family_ops.push_back(FamilyOp::Leave { parent: run, child });
            }
            Effect::StartTimer(wish) => {
                working.timers_started.push((run, wish.step, wish.visit, wish.due_at));
            }
            Effect::StopTimer(wish) => {
                let timer = (run, wish.step, wish.visit, wish.due_at);
                working.timers_started.retain(|started| *started != timer);
                working.timers_stopped.push(timer);
            }
        }
    }

    /// Of two trials of one step at once, the second is a break of the promise.
    fn change_breaker(
        &mut self,
        working: &mut Working,
        run: usize,
        step: &str,
        change: &BreakerChange,
    ) {
        let template = self.runs[&run];
        let now = self.moment();
        let Some((_, breakers, changes)) = working.breakers.get_mut(&template) else { return };
        *changes = true;
        let breaker = breakers.entry(step.to_owned()).or_default();
        let busy = breaker.trial.as_ref().is_some_and(|trial| trial.until > now);
        let was_open = breaker.opened_at.is_some();
        *breaker = breaker.after(change);
        if matches!(change, BreakerChange::Tried { .. }) {
            self.counts.count("trials of open breakers");
            if busy || !was_open {
                self.checker.fail(format!("run-{run} tries '{step}' beside another trial"));
            }
        }
        if breaker.opened_at.is_some() && !was_open {
            self.counts.count("breakers opened");
        }
        if breaker.is_new() {
            breakers.remove(step);
        }
    }

    fn stored_attempt(&self, draft: &AttemptDraft) -> StoredAttempt {
        StoredAttempt {
            row: AttemptRow {
                fence: 1,
                dispatch: 1,
                lost: 0,
                claim: draft.claim,
                idempotent: draft.idempotent,
                worker: None,
                claimed: false,
                leased_at: None,
                lease_until: None,
                published: None,
                due_at: draft.wish.due_at.unwrap_or(self.moment()),
                lease_ms: LEASE_MS,
                timeout_ms: draft.timeout_ms,
                queue_timeout_ms: draft.queue_timeout_ms,
            },
            lane: self.scenery.lane(&draft.wish.agent, draft.urgent),
            kind: draft.wish.kind,
        }
    }

    /// The transaction: all of it, or nothing.
    pub(crate) fn commit(&mut self, who: usize) {
        let Some(mut working) = self.coordinators[who].batch.take() else { return };
        if self.rng.chance(self.weather.refuse) {
            self.counts.count("commits refused by the database");
            return self.call_batch(who);
        }
        if self.rng.chance(self.weather.crash_in_commit) {
            return self.crash_coordinator(who);
        }
        if self.is_outdated(&working) {
            self.counts.count("commits lost to another coordinator");
            let coordinator = &mut self.coordinators[who];
            for run in working.runs.keys() {
                coordinator.cache.remove(run);
            }
            for item in working.items.into_iter().rev() {
                coordinator.inbox.push_front(item);
            }
            return self.call_batch(who);
        }
        // Each may lead to more of the other.
        loop {
            self.settle_family(who, &mut working);
            self.settle_locks(who, &mut working);
            if working.family_ops.is_empty() {
                break;
            }
        }
        self.check_fences(&working);
        self.write(&mut working);
        self.counts.count("commits");
        self.check_commit(&working);
        if self.rng.chance(self.weather.crash_in_commit) {
            return self.crash_coordinator(who);
        }
        for (run, working_run) in &working.runs {
            self.coordinators[who].cache.insert(*run, Rc::clone(&working_run.state));
        }
        self.queue_dispatches(who, &working.created);
        for (item, verdict) in working.items.iter().zip(&working.verdicts) {
            let answer = verdict.map_or_else(Answer::Refused, |()| Answer::Recorded);
            self.reply(item.reply_to, answer);
        }
        self.call_batch(who);
    }

    /// A refusal is only as true as the state it was found in, so runs that were only read count too.
    fn is_outdated(&self, working: &Working) -> bool {
        let moved =
            working.runs.iter().any(|(run, read)| self.database.sequence(*run) != read.read_at);
        let row = |key| self.database.attempts.get(key).map(|stored| &stored.row);
        let guarded = working.deleted.iter().all(|(key, guard)| guard.holds(row(key)));
        let changed = |(template, (read_at, _, changes)): (&usize, &(u64, Breakers, bool))| {
            let stored = self.database.breakers.get(template).map_or(0, |(version, _)| *version);
            *changes && stored != *read_at
        };
        moved || !guarded || working.breakers.iter().any(changed)
    }

    fn write(&mut self, working: &mut Working) {
        for (run, working_run) in &mut working.runs {
            if working_run.events.is_empty() {
                continue;
            }
            let row = self.database.runs.entry(*run).or_insert_with(|| RunRow {
                state: Rc::clone(&working_run.state),
                events: Vec::new(),
                replayed: State::new(workflow_id(*run)),
            });
            let blank = State::new(workflow_id(*run));
            row.replayed = replay(std::mem::replace(&mut row.replayed, blank), &working_run.events);
            row.state = Rc::clone(&working_run.state);
            row.events.extend(working_run.events.iter().cloned());
        }
        for (template, (read_at, breakers, changes)) in &working.breakers {
            if *changes {
                self.database.breakers.insert(*template, (read_at + 1, breakers.clone()));
            }
        }
        for (key, _) in &working.deleted {
            self.database.attempts.remove(key);
        }
        for (key, stored) in &working.created {
            self.database.attempts.insert(key.clone(), stored.clone());
        }
        for timer in working.timers_stopped.drain(..) {
            self.database.timers.remove(&timer);
        }
        self.database.timers.extend(working.timers_started.drain(..));
        self.database.approvals.extend(working.opened.drain(..));
        for id in working.closed.drain(..) {
            self.database.approvals.remove(&id);
        }
    }

    pub(crate) fn reply(&mut self, to: ReplyTo, answer: Answer) {
        let ReplyTo::Worker { who, life, job } = to else { return };
        if self.workers[who].process.life != life || self.copies() == 0 {
            return;
        }
        let way = self.way();
        self.worker_after(way, who, Toil::Reply(job, answer));
    }
}

pub(crate) fn workflow_id(run: usize) -> WorkflowId {
    WorkflowId::parse(&format!("run-{run}")).expect("letters, digits and a dash")
}

fn record(
    state: &State,
    sequence: u64,
    event: NewEvent,
    timestamp: sluice_proto::timestamp::Timestamp,
) -> Event {
    Event {
        event_id: String::new(),
        workflow_id: state.workflow_id.clone(),
        parent_workflow_id: None,
        sequence,
        step_id: event.step,
        timestamp,
        event_version: EVENT_VERSION,
        prev_hash: String::new(),
        key_id: String::new(),
        body: event.body,
    }
}
