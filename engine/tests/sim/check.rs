//! What must be true: of every commit, of every execution, of every second message, and at the end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use serde_json::{Map, Value};
use sluice_engine::attempt::{AttemptRow, Loss, MAX_LOST_DISPATCHES, Verdict};
use sluice_engine::template::{FanSource, StepKind};
use sluice_engine::{BranchStatus, MAX_STEPS_PER_RUN, Phase, State, replay, wishes};
use sluice_proto::event::{EventBody, Status};

use super::database::Key;
use super::gates::{Asked, beside, branch_of};
use super::intake::{Settled, Working, workflow_id};
use super::jetstream::Message;
use super::report::Care;
use super::world::World;

/// Events that one run may have.
const MAX_EVENTS: u64 = 2_500;
/// Dispatches of one attempt, besides those that stream incidents explain.
const MAX_DISPATCHES: u32 = 8;

/// Run, path and visit.
type Place = (usize, Rc<str>, u32);

/// What the checks remember; nothing of it is known to the world.
#[derive(Default)]
pub(crate) struct Checker {
    pub(crate) violation: Option<String>,
    pub(crate) stream_incidents: u32,
    executions: BTreeMap<Key, (Care, u64)>,
    /// Attempts whose rows are gone.
    ended: HashSet<Key>,
    /// Attempts whose result counted.
    committed: HashSet<Key>,
    /// Attempts that ended as interrupted, and their visits.
    interrupted: HashSet<Key>,
    /// How often an attempt was published again because its lease was over.
    lost: BTreeMap<Key, u32>,
    /// Answers of agents and models by path and visit.
    given: HashMap<Place, Vec<Map<String, Value>>>,
    /// How each run has ended.
    pub(super) ended_as: HashMap<usize, Status>,
    /// What each run has asked people last.
    pub(super) asked: HashMap<(usize, String), Asked>,
    /// Last fencing number of each lock.
    fencing: BTreeMap<String, u64>,
}

impl Checker {
    /// Keeps the first violation.
    pub(crate) fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(crate) fn given(&mut self, key: &Key, report: &sluice_engine::Report) {
        if let Ok(answer) = &report.outcome {
            let place = (key.run, Rc::clone(&key.path), key.visit);
            self.given.entry(place).or_default().push(answer.clone());
        }
    }

    /// Whether somebody really gave this answer.
    pub(super) fn was_given(&self, run: usize, path: &str, answer: &Map<String, Value>) -> bool {
        let mut answers = self.given.iter().filter(|((of, at, _), _)| *of == run && **at == *path);
        answers.any(|(_, answers)| answers.contains(answer))
    }

    pub(super) fn answers(&self, run: usize, path: &str) -> Vec<&Map<String, Value>> {
        let answers = self.given.iter().filter(|((of, at, _), _)| *of == run && **at == *path);
        answers.flat_map(|(_, answers)| answers).collect()
    }
}

impl World<'_> {
    /// An agent is about to touch the world.
    pub(crate) fn check_execution(&mut self, message: &Message, worker: &str) {
        let key = &message.key;
        let care = match (message.claim, message.idempotent) {
            (true, false) => Care::ClaimedOnce,
            (true, true) => Care::ClaimedIdempotent,
            (false, _) => Care::Unclaimed,
        };
        let entry = self.checker.executions.entry(key.clone()).or_insert((care, 0));
        entry.1 += 1;
        let times = entry.1;
        self.counts.count("executions");
        if care != Care::ClaimedOnce {
            return;
        }
        if times > 1 {
            self.checker.fail(format!("{worker} executes {key} although it was executed before"));
        }
        if self.checker.interrupted.contains(key) {
            self.checker.fail(format!("{worker} executes {key} although it was interrupted"));
        }
    }

    /// A second message is only right when the first one, or its worker, is gone.
    pub(crate) fn check_verdict(&mut self, key: &Key, read: &AttemptRow, verdict: &Verdict) {
        if !matches!(verdict, Verdict::Redispatch(_)) {
            return;
        }
        if let Some(lease_until) = read.lease_until {
            if self.moment() <= lease_until {
                self.checker.fail(format!("{key} is dispatched again although its lease holds"));
            }
            return;
        }
        // A copy that nobody marked is not known to the row, and no promise is made about it.
        let published = read.published;
        if published.is_some_and(|published| self.stream.holds(key, read.dispatch, published)) {
            self.checker.fail(format!("{key} is dispatched again although it can be delivered"));
        }
    }

    /// Nothing goes on for ever: neither under workers that vanish nor for any other reason.
    pub(crate) fn check_dispatches(&mut self, key: &Key, read: &AttemptRow) {
        let lost = self.checker.lost.entry(key.clone()).or_default();
        *lost += u32::from(read.lease_until.is_some());
        let too_often = *lost >= MAX_LOST_DISPATCHES;
        if too_often || read.dispatch >= MAX_DISPATCHES + 4 * self.checker.stream_incidents {
            let what = format!("{key} is dispatched again after {read:?}");
            self.checker.fail(what);
        }
    }

    /// After every commit: what it wrote, and that rows and states agree.
    pub(crate) fn check_commit(&mut self, working: &Working) {
        for settled in &working.settled {
            self.check_settled(settled);
        }
        for (key, _) in &working.deleted {
            // One that was held back before it was due is made again later.
            let held_back =
                working.runs.get(&key.run).is_some_and(|run| run.state.suspension.is_some());
            if !held_back {
                self.checker.ended.insert(key.clone());
            }
        }
        for key in working.created.keys() {
            let again = self.checker.ended.contains(key);
            let interrupted =
                self.checker.interrupted.iter().any(|lost| {
                    (lost.run, &lost.path, lost.visit) == (key.run, &key.path, key.visit)
                });
            if again || interrupted {
                self.checker
                    .fail(format!("{key} is made although it has ended or was interrupted"));
            }
        }
        self.check_fencing(working);
        for (run, working_run) in &working.runs {
            self.check_events(*run, &working_run.events);
            if !working_run.events.is_empty() {
                self.check_run(*run);
            }
        }
        self.check_family();
    }

    fn check_settled(&mut self, settled: &Settled) {
        let Settled { named, row, by, loss } = settled;
        self.note(|| match (by, loss) {
            (Some((fence, worker)), _) => format!("{row} is settled by {worker} under {fence}"),
            (None, loss) => format!("{row} is settled: {loss:?}"),
        });
        if *loss == Some(Loss::Interrupted) {
            self.checker.interrupted.insert(row.clone());
        }
        if by.is_none() {
            return;
        }
        if named != row {
            self.checker.fail(format!("a result of {named} counts for {row}"));
        }
        if !self.checker.committed.insert(named.clone()) {
            self.checker.fail(format!("{named} is committed twice"));
        }
    }

    /// Before the rows are gone: a result counts only for whoever holds the attempt.
    pub(crate) fn check_fences(&mut self, working: &Working) {
        for Settled { named, row, by, .. } in &working.settled {
            let (Some((fence, worker)), Some(stored)) = (by, self.database.attempts.get(row))
            else {
                continue;
            };
            let row = &stored.row;
            let holder = row.worker.as_deref();
            if *fence != row.fence || (row.claim && holder != Some(worker)) {
                let in_force = row.fence;
                self.checker.violation.get_or_insert(format!(
                    "{worker} commits {named} under fence {fence}, in force is {in_force} of {holder:?}"
                ));
            }
        }
    }

    /// A lock may change hands several times in one transaction, so the numbers of all runs count.
    fn check_fencing(&mut self, working: &Working) {
        let events = working.runs.values().flat_map(|run| &run.events);
        let mut acquired: Vec<(&str, u64)> = events
            .filter_map(|event| match &event.body {
                EventBody::AcquireLock(lock) => {
                    Some((lock.resource_lock.as_str(), lock.fencing_number))
                }
                _ => None,
            })
            .collect();
        acquired.sort_unstable();
        for (name, number) in acquired {
            let last = self.checker.fencing.entry(name.to_owned()).or_default();
            if number <= *last {
                let what = format!("lock '{name}' has fencing number {number} after {last}");
                return self.checker.fail(what);
            }
            *last = number;
        }
    }

    /// State against rows.
    pub(crate) fn check_run(&mut self, run: usize) {
        let Some(row) = self.database.runs.get(&run) else { return };
        let state = Rc::clone(&row.state);
        if row.replayed != *state {
            let difference = format!("replayed {:?}\n live {state:?}", row.replayed);
            self.checker.fail(format!("run-{run}: replay differs from live: {difference}"));
        }
        let gaps = row.events.iter().zip(1..).any(|(event, n)| event.sequence != n);
        if gaps || row.events.len() as u64 != state.sequence || state.sequence > MAX_EVENTS {
            self.checker.fail(format!("run-{run}: gaps, or too many events: {}", state.sequence));
        }
        self.check_wishes(run, &state);
        self.check_visits(run, &state);
        self.check_locks(run, &state);
    }

    fn check_wishes(&mut self, run: usize, state: &State) {
        let template = &self.scenery.templates[self.runs[&run]];
        let wishes = wishes(template, state);
        let named = |path: &str, visit: u32, attempt: u32| format!("{path}:{visit}:{attempt}");
        let mut wished: Vec<String> =
            wishes.attempts.iter().map(|w| named(&w.path, w.visit, w.attempt)).collect();
        let rows = self.database.attempts_of(run);
        let mut there: Vec<String> =
            rows.map(|(k, _)| named(&k.path, k.visit, k.attempt)).collect();
        wished.extend(wishes.locks.iter().map(|w| format!("{} for {}", w.name, w.step)));
        for (name, lock) in &self.database.locks {
            let waiters = lock.waiters.iter().filter(|waiter| waiter.run == run);
            there.extend(waiters.map(|waiter| format!("{name} for {}", waiter.step)));
        }
        let timer = |step: &str, visit: u32| format!("timer of {step}:{visit}");
        wished.extend(wishes.timers.iter().map(|w| timer(&w.step, w.visit)));
        let timers = self.database.timers.iter().filter(|(of, ..)| *of == run);
        there.extend(timers.map(|(_, step, visit, _)| timer(step, *visit)));
        let child = |step: &str, visit: u32, id: &str| format!("child {id} of {step}:{visit}");
        wished.extend(
            wishes.children.iter().map(|w| child(&w.step, w.visit, w.workflow_id.as_str())),
        );
        let children = self.database.child_waits.iter().filter(|(of, ..)| *of == run);
        there.extend(children.map(|(_, step, visit, id)| child(step, *visit, id.as_str())));
        wished.extend(wishes.approvals);
        let approvals = self.database.approvals.iter().filter(|(_, of)| **of == run);
        there.extend(approvals.map(|(id, _)| id.clone()));
        wished.sort();
        there.sort();
        if wished != there {
            self.checker.fail(format!("run-{run} wishes {wished:?}, outstanding is {there:?}"));
        }
        let held_up = state.suspension.is_some();
        let stuck = !state.status.is_terminal() && !held_up && there.is_empty();
        if stuck {
            self.checker.fail(format!("run-{run} waits for nothing: {:?}", state.active));
        }
    }

    /// Loops have a budget; the visit that is over it ends, and its handling may come by once.
    fn check_visits(&mut self, run: usize, state: &State) {
        let budget = self.scenery.templates[self.runs[&run]].loop_budget();
        let visits = state.steps.values().map(|step| step.visits - step.visits_before);
        let most = visits.max().unwrap_or(0);
        let branches = state.fans.values().flat_map(|fan| fan.branches.values());
        let entered =
            branches.map(|branch| branch.steps_entered).chain([state.steps_entered]).max();
        if most > budget + 3 || entered > Some(MAX_STEPS_PER_RUN + 1) {
            self.checker.fail(format!("run-{run} goes round {most} times, budget {budget}"));
        }
    }

    /// Branches are under way only in steps that are, and no more of them than may be.
    fn check_branches(&mut self, run: usize, state: &State) {
        let template = &self.scenery.templates[self.runs[&run]];
        for path in state.active.keys().filter(|path| path.contains('.')) {
            let branch = branch_of(path).unwrap_or_default();
            let (fan, name) = branch.rsplit_once('.').unwrap_or_default();
            let open = state.active.get(fan).is_some_and(|p| p.phase == Phase::Branches);
            let record = state.fans.get(fan).and_then(|record| record.branches.get(name));
            let runs = record.is_some_and(|branch| branch.status == BranchStatus::Running);
            if !open || !runs {
                return self
                    .checker
                    .fail(format!("run-{run} is at {path}, which is not under way"));
            }
        }
        for (path, record) in &state.fans {
            let running =
                record.branches.values().filter(|b| b.status == BranchStatus::Running).count();
            let Some(StepKind::Fan(fan)) = template.step(path).map(|step| &step.kind) else {
                return self.checker.fail(format!("run-{run} has branches of '{path}'"));
            };
            let most = match &fan.source {
                FanSource::Items { max_concurrent, .. } => max_concurrent.unwrap_or(u32::MAX),
                FanSource::Branches(_) => u32::MAX,
            };
            let open = state.active.get(path).is_some_and(|p| p.phase == Phase::Branches);
            if running > most as usize || (running > 0 && !open) {
                return self.checker.fail(format!("run-{run} has {running} branches of '{path}'"));
            }
        }
    }

    /// Plan, approval and apply are one critical section, and nobody holds one lock and waits for
    /// another.
    fn check_chain(&mut self, run: usize, state: &State) {
        let template = &self.scenery.templates[self.runs[&run]];
        let lock_of =
            |id: &str| template.step(id)?.resource_lock.as_ref().map(|lock| lock.source());
        let broken = state.active.iter().any(|(id, position)| {
            let Some(StepKind::Approval(approval)) = template.step(id).map(|step| &step.kind)
            else {
                return false;
            };
            let before = position.from.as_deref().and_then(lock_of);
            let after =
                approval.on_approved.as_ref().and_then(|target| lock_of(&beside(id, target)));
            let owns = state.locks.values().any(|held| branch_of(&held.step) == branch_of(id));
            before.is_some() && before == after && position.lock.is_none() && !owns
        });
        // While it is held up it asks for no lock, and gives up none.
        let asks = state.suspension.is_none();
        // Branches are on their own: one may hold what another waits for.
        let holds =
            |path: &str| state.locks.values().any(|held| branch_of(&held.step) == branch_of(path));
        let greedy =
            asks && state.active.iter().any(|(path, p)| !state.has_lock(path, p) && holds(path));
        if broken || greedy {
            self.checker.fail(format!("run-{run} holds {:?} at {:?}", state.locks, state.active));
        }
    }

    fn check_locks(&mut self, run: usize, state: &State) {
        let owned = self.database.locks.iter().filter(|(_, lock)| lock.owner == Some(run));
        let owned: Vec<(&String, u64)> = owned.map(|(n, lock)| (n, lock.fencing_number)).collect();
        let held: Vec<(&String, u64)> =
            state.locks.iter().map(|(name, held)| (name, held.fencing_number)).collect();
        if owned != held {
            let what = format!("run-{run} holds {held:?}, the rows say {owned:?}");
            return self.checker.fail(what);
        }
        if state.status.is_terminal() && !owned.is_empty() {
            return self.checker.fail(format!("run-{run} has ended and still owns {owned:?}"));
        }
        // Nobody works under a lock that the run does not own, or owns for another of its branches.
        for (key, _) in self.database.attempts_of(run) {
            let Some(position) = state.active.get(key.step()) else { continue };
            if !state.has_lock(key.step(), position) && !key.path.ends_with(".announce") {
                let lock = position.lock.as_ref();
                return self.checker.fail(format!("{key} is worked on without {lock:?}"));
            }
        }
        self.check_chain(run, state);
        self.check_branches(run, state);
    }

    /// Everything has ended: nothing may be left behind.
    pub(crate) fn check_end(&mut self) {
        let runs: Vec<usize> = self.database.runs.keys().copied().collect();
        for run in runs {
            self.check_run(run);
            let row = &self.database.runs[&run];
            let again = replay(State::new(workflow_id(run)), &row.events);
            if again != *row.state {
                self.checker.fail(format!("run-{run}: the replay of all events differs"));
            }
            *self.counts.runs.entry(row.state.status.as_str()).or_default() += 1;
        }
        let left = self.database.locks.iter();
        for (name, lock) in
            left.filter(|(_, lock)| lock.owner.is_some() || !lock.waiters.is_empty())
        {
            self.checker.violation.get_or_insert(format!("lock '{name}' is left: {lock:?}"));
        }
        if !self.database.approvals.is_empty() {
            self.checker.fail(format!("approvals are left: {:?}", self.database.approvals));
        }
        for (care, executions) in self.checker.executions.values() {
            let ratio = self.counts.ratios.entry(*care).or_default();
            ratio.executions += executions;
            ratio.attempts += 1;
        }
    }
}
