//! Random histories of locks: runs that take, keep, hand on and lose locks, transactions that never
//! commit, queues of two priorities. The real engine plays the runs; the table here does in memory what
//! the coordinator does in rows, and a crash forgets a transaction whole.

use std::collections::BTreeMap;

use serde_json::{Map, json};
use sluice_engine::breaker::Breakers;
use sluice_engine::lesson::Lessons;
use sluice_engine::template::Template;
use sluice_engine::{Advance, Decision, Effect, Input, Report, Situation, State, advance, wishes};
use sluice_proto::agents::AgentCatalogue;
use sluice_proto::event::{EventBody, ForcedRelease};
use sluice_proto::ids::WorkflowId;
use sluice_proto::message::AgentError;
use sluice_proto::timestamp::Timestamp;

use crate::run::{agents, template};

const HISTORIES: u64 = 10_000;
const RUNS: usize = 5;
const MOVES: usize = 24;
/// Histories are played side by side.
const THREADS: u64 = 4;

const TEXTS: [&str; 4] = [
    "steps:
  - {id: plan, type: agent_call, agent: reader, resource_lock: x, on_success: approve}
  - {id: approve, type: hitl_approval, risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}, on_approved: apply, on_rejected: workflow_failed}
  - {id: apply, type: agent_call, agent: writer, resource_lock: x, on_success: workflow_complete, on_failure: undo}
  - {id: undo, type: agent_call, agent: writer, payload: {action: rollback}, on_success: workflow_failed}
",
    "priority: urgent
steps:
  - {id: fix, type: agent_call, agent: keyed, resource_lock: x, on_success: tell, on_failure: workflow_failed}
  - {id: tell, type: agent_call, agent: reader, resource_lock: y}
",
    "steps:
  - {id: a, type: agent_call, agent: reader, resource_lock: y, lock_wait: 20s, on_success: b}
  - {id: b, type: conditional, condition: outputs.a.again, resource_lock: y, on_true: a, on_false: c}
  - {id: c, type: agent_call, agent: writer, resource_lock: x, on_failure: workflow_failed}
error_handling: [{step: a, max_retries: 2}]
",
    "priority: urgent
steps:
  - {id: only, type: agent_call, agent: writer, resource_lock: y}
",
];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Waiter {
    run: usize,
    step: String,
    urgent: bool,
    ticket: u64,
    wait_until: Option<Timestamp>,
}

impl Waiter {
    /// Whether it comes before `other`.
    fn precedes(&self, other: &Self) -> bool {
        (!self.urgent, self.ticket) < (!other.urgent, other.ticket)
    }
}

#[derive(Clone, Debug, Default)]
struct Lock {
    owner: Option<usize>,
    fencing_number: u64,
    waiters: Vec<Waiter>,
}

/// What a commit makes true; a crash keeps the former one.
#[derive(Clone)]
struct Committed {
    states: Vec<State>,
    locks: BTreeMap<String, Lock>,
    tickets: u64,
}

enum Op {
    Request { run: usize, name: String, step: String, wait_until: Option<Timestamp> },
    Withdraw { run: usize, name: String, step: String },
    Release { run: usize, name: String },
}

impl Op {
    fn is_release(&self) -> bool {
        matches!(self, Self::Release { .. })
    }
}

struct History<'a> {
    seed: u64,
    rng: Rng,
    templates: &'a [Template],
    catalogue: &'a AgentCatalogue,
    kinds: Vec<usize>,
    now: Timestamp,
    committed: Committed,
    counts: Counts,
    /// Nothing goes wrong any more.
    calm: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    grants: u32,
    forced: u32,
    crashes: u32,
}

/// The database refused the rest of the transaction, or the coordinator died.
struct Crashed;

impl<'a> History<'a> {
    fn new(seed: u64, templates: &'a [Template], catalogue: &'a AgentCatalogue) -> Self {
        let mut rng = Rng(seed);
        let kinds = (0..RUNS).map(|_| rng.below(TEXTS.len())).collect();
        let id = |n: usize| WorkflowId::parse(&format!("run-{n}")).unwrap();
        let states = (0..RUNS).map(|n| State::new(id(n))).collect();
        Self {
            seed,
            rng,
            templates,
            catalogue,
            kinds,
            now: Timestamp::parse("2031-03-04T05:06:07Z").unwrap(),
            committed: Committed { states, locks: BTreeMap::new(), tickets: 0 },
            counts: Counts::default(),
            calm: false,
        }
    }

    fn template(&self, run: usize) -> &'a Template {
        &self.templates[self.kinds[run]]
    }

    /// One transaction: an input, all that follows, and perhaps a crash before the commit.
    fn transact(&mut self, run: usize, input: Input) {
        let mut next = self.committed.clone();
        let mut ops = Vec::new();
        let done = self.advance(&mut next, run, input, &mut ops);
        if done && self.settle(&mut next, ops).is_err() || !self.calm && self.rng.one_in(8) {
            self.counts.crashes += 1;
            return;
        }
        self.check(&next);
        self.committed = next;
    }

    fn advance(
        &mut self,
        next: &mut Committed,
        run: usize,
        input: Input,
        ops: &mut Vec<Op>,
    ) -> bool {
        let situation = Situation {
            breakers: &Breakers::new(),
            lessons: &Lessons::new(),
            template: self.template(run),
            agents: self.catalogue,
            now: self.now,
            jitter: 0.0,
        };
        let Ok(Advance { state, events, effects }) = advance(&situation, &next.states[run], input)
        else {
            return false;
        };
        let is_forced = |body: &EventBody| matches!(body, EventBody::ReleaseLock(lock) if lock.forced.is_some());
        self.counts.forced += u32::from(events.iter().any(|event| is_forced(&event.body)));
        next.states[run] = state;
        ops.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::RequestLock(wish) => Some(Op::Request {
                run,
                name: wish.name,
                step: wish.step,
                wait_until: wish.wait_until,
            }),
            Effect::WithdrawLockRequest(wish) => {
                Some(Op::Withdraw { run, name: wish.name, step: wish.step })
            }
            Effect::ReleaseLock(name) => Some(Op::Release { run, name }),
            _ => None,
        }));
        true
    }

    fn settle(&mut self, next: &mut Committed, mut ops: Vec<Op>) -> Result<(), Crashed> {
        while !ops.is_empty() {
            ops.sort_by_key(|op| !op.is_release());
            for op in std::mem::take(&mut ops) {
                if !self.calm && self.rng.one_in(12) {
                    return Err(Crashed);
                }
                self.settle_one(next, op, &mut ops);
            }
        }
        Ok(())
    }

    fn settle_one(&mut self, next: &mut Committed, op: Op, ops: &mut Vec<Op>) {
        match op {
            Op::Release { run, name } => {
                let lock = next.locks.entry(name.clone()).or_default();
                if lock.owner == Some(run) {
                    lock.owner = None;
                }
                self.hand_over(next, &name, ops);
            }
            Op::Withdraw { run, name, step } => {
                let lock = next.locks.entry(name).or_default();
                lock.waiters.retain(|waiter| !(waiter.run == run && waiter.step == step));
            }
            Op::Request { run, name, step, wait_until } => {
                let urgent = self.template(run).urgent;
                next.tickets += 1;
                let ticket = next.tickets;
                let lock = next.locks.entry(name.clone()).or_default();
                if !lock.waiters.iter().any(|waiter| waiter.run == run && waiter.step == step) {
                    lock.waiters.push(Waiter {
                        run,
                        step: step.clone(),
                        urgent,
                        ticket,
                        wait_until,
                    });
                }
                self.hand_over(next, &name, ops);
                if next.locks[&name].owner != Some(run) {
                    self.advance(next, run, Input::LockQueued { step, name, holder: None }, ops);
                }
            }
        }
    }

    fn hand_over(&mut self, next: &mut Committed, name: &str, ops: &mut Vec<Op>) {
        while let Some(lock) = next.locks.get_mut(name).filter(|lock| lock.owner.is_none()) {
            let key = |waiter: &&Waiter| (!waiter.urgent, waiter.ticket);
            let Some(first) = lock.waiters.iter().min_by_key(key).cloned() else { return };
            lock.waiters.retain(|waiter| *waiter != first);
            let fencing_number = lock.fencing_number + 1;
            let overtaken = lock.waiters.iter().find(|waiter| waiter.precedes(&first));
            assert_eq!(overtaken, None, "seed {}: '{name}' out of turn", self.seed);
            let (step, run) = (first.step, first.run);
            let input = Input::LockGranted { step, name: name.to_owned(), fencing_number };
            if self.advance(next, run, input, ops)
                && let Some(lock) = next.locks.get_mut(name)
            {
                (lock.owner, lock.fencing_number) = (Some(run), fencing_number);
                self.counts.grants += 1;
            }
        }
    }

    /// What must hold after every commit.
    fn check(&self, next: &Committed) {
        let seed = self.seed;
        let wished = |run: usize| wishes(self.template(run), &next.states[run]).locks;
        let wished: Vec<_> = (0..RUNS).map(wished).collect();
        for (name, lock) in &next.locks {
            let holders: Vec<usize> =
                (0..RUNS).filter(|run| next.states[*run].locks.contains_key(name)).collect();
            assert_eq!(holders, Vec::from_iter(lock.owner), "seed {seed}: holders of '{name}'");
            if let Some(owner) = lock.owner {
                let held = &next.states[owner].locks[name];
                assert_eq!(held.fencing_number, lock.fencing_number, "seed {seed}: '{name}'");
            }
            let before = self.committed.locks.get(name);
            let (number, owner) =
                before.map_or((0, None), |lock| (lock.fencing_number, lock.owner));
            let must_grow = lock.owner.is_some() && lock.owner != owner;
            let has_grown = lock.fencing_number >= number + u64::from(must_grow);
            assert!(has_grown, "seed {seed}: the number of '{name}'");
            for waiter in &lock.waiters {
                let mut wishes = wished[waiter.run].iter();
                let still = wishes.any(|wish| wish.name == *name && wish.step == waiter.step);
                assert!(still, "seed {seed}: run {} queues for '{name}' for nothing", waiter.run);
            }
            assert!(
                lock.owner.is_some() || lock.waiters.is_empty(),
                "seed {seed}: '{name}' is idle"
            );
        }
        for (run, state) in next.states.iter().enumerate() {
            let over = state.status.is_terminal();
            assert!(!over || state.locks.is_empty(), "seed {seed}: a lock outlives run {run}");
            for wish in &wished[run] {
                let waits = |waiter: &Waiter| waiter.run == run && waiter.step == wish.step;
                let queues =
                    next.locks.get(&wish.name).is_some_and(|lock| lock.waiters.iter().any(waits));
                assert!(queues, "seed {seed}: run {run} wants '{}' and does not queue", wish.name);
            }
        }
    }

    /// Some input that may be due.
    fn random_input(&mut self) -> (usize, Input) {
        let run = self.rng.below(RUNS);
        let state = &self.committed.states[run];
        if state.sequence == 0 {
            return (run, Input::Start { context: Map::new() });
        }
        let wished = wishes(self.template(run), state);
        let held: Vec<String> = state.locks.keys().cloned().collect();
        if let Some(name) = held.first().filter(|_| !self.calm && self.rng.one_in(6)).cloned() {
            let forced = ForcedRelease { reason: "stuck".into(), released_by: "ada".into() };
            return (run, Input::LockRevoked { name, forced });
        }
        if let Some(wish) = wished.attempts.first().cloned() {
            let outcome = match if self.calm { 3 } else { self.rng.below(4) } {
                0 => Err(AgentError {
                    code: "boom".into(),
                    retryable: Some(true),
                    ..AgentError::default()
                }),
                1 => Ok(json!({"again": true})),
                _ => Ok(json!({"again": false})),
            };
            let report = Report {
                outcome: outcome.map(|value| value.as_object().cloned().unwrap()),
                duration_ms: 1,
                usage: None,
                insights: Vec::new(),
            };
            // Some results come late, for an attempt that is no longer outstanding.
            let attempt = wish.attempt - u32::from(wish.attempt > 1 && self.rng.one_in(5));
            return (run, Input::Result { path: wish.path, visit: wish.visit, attempt, report });
        }
        if let Some(wish) = wished.locks.first() {
            return (run, Input::LockTimedOut { step: wish.step.clone(), name: wish.name.clone() });
        }
        let decision = Decision { approved: !self.rng.one_in(4), ..Decision::default() };
        (run, Input::Decision(decision))
    }

    fn play(mut self) -> Counts {
        for _ in 0..MOVES {
            self.now = self.now.plus_ms(self.rng.next() % 8_000);
            let (run, input) = self.random_input();
            self.transact(run, input);
        }
        self.drain();
        self.counts
    }

    /// Everything that is left comes to an end, and no lock is left behind.
    fn drain(&mut self) {
        self.calm = true;
        for _ in 0..5_000 {
            if self.committed.states.iter().all(|state| state.status.is_terminal()) {
                let left = self.committed.locks.values().filter(|lock| lock.owner.is_some());
                return assert_eq!(left.count(), 0, "seed {}", self.seed);
            }
            self.now = self.now.plus_ms(1_000);
            let (run, input) = self.random_input();
            self.transact(run, input);
        }
        panic!("seed {}: runs that never end", self.seed);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "shows its numbers when asked")]
fn ten_thousand_histories_with_crashes() {
    let first = std::env::var("SLUICE_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = first.map_or(0..HISTORIES, |seed| seed..seed + 1);
    let templates: Vec<Template> = TEXTS.iter().map(|text| template(text)).collect();
    let catalogue = agents();
    let play = |thread: u64| {
        let own = seeds.clone().filter(|seed| seed % THREADS == thread);
        own.map(|seed| History::new(seed, &templates, &catalogue).play()).collect::<Vec<_>>()
    };
    let play = &play;
    let played: Vec<Counts> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || play(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |count: fn(&Counts) -> u32| played.iter().map(count).sum::<u32>();
    let counts = [sum(|c| c.grants), sum(|c| c.forced), sum(|c| c.crashes)];
    println!("{} histories: grants, forced releases, crashes: {counts:?}", played.len());
    // Histories in which nothing happens prove nothing.
    assert!(first.is_some() || counts.iter().all(|count| *count > 5_000), "{counts:?}");
}
