//! The clock, the order of events, and who takes part.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::rc::Rc;

use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;

use super::breakage::Breakage;
use super::check::Checker;
use super::coordinator::Coordinator;
use super::database::Database;
use super::dispatcher::Dispatch;
use super::faults::Weather;
use super::item::Item;
use super::jetstream::{JetStream, Message, Receipt};
use super::report::{Counts, Violation};
use super::rng::Rng;
use super::scenery::Scenery;
use super::sweeper::Found;
use super::worker::{Answer, JobStep, Letter, Worker};

/// Start of simulated time, microseconds since the epoch.
const EPOCH_MICROS: i64 = 1_930_000_000_000_000;
/// After this much time without faults everything must have ended, milliseconds.
const PATIENCE_MS: u64 = 6 * 3_600_000;
/// Trace lines kept.
const TRACE_LINES: usize = 400;

/// What happens at a moment.
pub(crate) enum Happening {
    /// Somebody asks for a run until they are answered.
    Ask { run: usize },
    /// An input reaches some coordinator.
    Input(Item),
    /// A claim or a heartbeat reaches some coordinator.
    Letter(Letter),
    /// Something happens in a coordinator of that life.
    Coordinator { who: usize, life: u32, what: Duty },
    /// Something happens in a worker of that life.
    Worker { who: usize, life: u32, what: Toil },
    /// A process comes back.
    Restart { coordinator: bool, who: usize },
    /// People look at what waits for them.
    People,
    /// Something goes wrong.
    Incident,
    /// The stream is there again.
    StreamAgain,
    /// From now on nothing goes wrong.
    Calm,
}

pub(crate) enum Duty {
    /// Reads and decides.
    Batch,
    /// Writes what was decided.
    Commit,
    /// Publishes what is due.
    Publish,
    /// Notes where messages are.
    Mark(Dispatch, i64, u64),
    /// Reads rows that may need something.
    Sweep,
    /// Asks JetStream about them.
    Look(Vec<Found>),
    /// Does what follows.
    Act(Vec<Found>),
}

pub(crate) enum Toil {
    /// Asks for work; only the newest call counts.
    Pull {
        call: u64,
    },
    Deliver(Receipt, Rc<Message>),
    Job(u64, JobStep),
    Reply(u64, Answer),
}

/// A process: dead or alive, awake or stopped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    pub(crate) life: u32,
    pub(crate) down: bool,
    pub(crate) stopped_until: u64,
}

struct Scheduled {
    at: u64,
    order: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

pub(crate) struct World<'s> {
    pub(crate) scenery: &'s Scenery,
    pub(crate) seed: u64,
    pub(crate) breakage: Option<Breakage>,
    pub(crate) rng: Rng,
    /// Milliseconds since the start.
    pub(crate) now: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    pub(crate) weather: Weather,
    pub(crate) calm_since: Option<u64>,
    pub(crate) database: Database,
    pub(crate) stream: JetStream,
    pub(crate) coordinators: Vec<Coordinator>,
    pub(crate) workers: Vec<Worker>,
    /// Template of each run, started or not.
    pub(crate) runs: BTreeMap<usize, usize>,
    /// Run of each child.
    pub(crate) children: BTreeMap<WorkflowId, usize>,
    /// Parent of each run that has one, and what it calls the child.
    pub(crate) parents: BTreeMap<usize, (usize, WorkflowId)>,
    pub(crate) checker: Checker,
    pub(crate) counts: Counts,
    trace: Option<VecDeque<String>>,
}

impl<'s> World<'s> {
    pub(crate) fn new(
        scenery: &'s Scenery,
        seed: u64,
        breakage: Option<Breakage>,
        trace: bool,
    ) -> Self {
        let mut rng = Rng::new(seed);
        let weather = Weather::of(&mut rng);
        let coordinators = rng.between(1, 3);
        let workers = rng.between(1, 4);
        let runs = rng.between(2, 6);
        let mut world = Self {
            scenery,
            seed,
            breakage,
            now: 0,
            queue: BinaryHeap::new(),
            order: 0,
            weather,
            calm_since: None,
            database: Database::default(),
            stream: JetStream::new(),
            coordinators: (0..coordinators).map(|_| Coordinator::default()).collect(),
            workers: (0..workers).map(|_| Worker::default()).collect(),
            runs: BTreeMap::new(),
            children: BTreeMap::new(),
            parents: BTreeMap::new(),
            checker: Checker::default(),
            counts: Counts { seeds: 1, ..Counts::default() },
            trace: trace.then(VecDeque::new),
            rng,
        };
        for run in 0..usize::try_from(runs).unwrap_or(1) {
            let template = world.rng.below(scenery.templates.len());
            world.runs.insert(run, template);
            let delay = world.rng.between(0, 20_000);
            world.after(delay, Happening::Ask { run });
        }
        world.wake_everybody();
        let storm = world.rng.between(20_000, 240_000);
        world.after(storm, Happening::Calm);
        world
    }

    fn wake_everybody(&mut self) {
        for who in 0..self.coordinators.len() {
            self.restart(true, who);
        }
        for who in 0..self.workers.len() {
            self.restart(false, who);
        }
        self.after(1_000, Happening::People);
        self.after(500, Happening::Incident);
    }

    pub(crate) fn run(mut self) -> Result<Counts, Box<Violation>> {
        self.play()
    }

    /// The same with everything that happened.
    pub(crate) fn run_traced(mut self) -> (Vec<String>, Result<Counts, Box<Violation>>) {
        let result = self.play();
        (self.trace.take().unwrap_or_default().into(), result)
    }

    fn play(&mut self) -> Result<Counts, Box<Violation>> {
        while let Some(Reverse(next)) = self.queue.pop() {
            self.now = next.at;
            self.happen(next.what);
            self.check_patience();
            if let Some(what) = self.checker.violation.take() {
                let trace = self.trace.clone().unwrap_or_default().into();
                let (seed, at_ms) = (self.seed, self.now);
                return Err(Box::new(Violation { seed, what, at_ms, trace }));
            }
            if self.calm_since.is_some() && self.is_quiet() {
                break;
            }
        }
        self.check_end();
        match self.checker.violation.take() {
            None => Ok(std::mem::take(&mut self.counts)),
            Some(what) => {
                let trace = self.trace.clone().unwrap_or_default().into();
                Err(Box::new(Violation { seed: self.seed, what, at_ms: self.now, trace }))
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Ask { run } => self.ask_for(run),
            Happening::Input(item) => self.deliver_input(item),
            Happening::Letter(letter) => self.deliver_letter(&letter),
            Happening::Coordinator { who, life, what } => {
                let process = self.coordinators[who].process;
                if process.life != life || process.down {
                    return;
                }
                if process.stopped_until > self.now {
                    let what = Happening::Coordinator { who, life, what };
                    return self.at(process.stopped_until, what);
                }
                self.duty(who, what);
            }
            Happening::Worker { who, life, what } => {
                let process = self.workers[who].process;
                if process.life != life || process.down {
                    return;
                }
                if process.stopped_until > self.now {
                    return self.at(process.stopped_until, Happening::Worker { who, life, what });
                }
                self.toil(who, what);
            }
            Happening::Restart { coordinator, who } => self.restart(coordinator, who),
            Happening::People => self.people(),
            Happening::Incident => self.incident(),
            Happening::StreamAgain => self.stream_again(),
            Happening::Calm => self.calm(),
        }
    }

    fn duty(&mut self, who: usize, what: Duty) {
        match what {
            Duty::Batch => self.read_and_decide(who),
            Duty::Commit => self.commit(who),
            Duty::Publish => self.publish_due(who),
            Duty::Mark(dispatch, created, sequence) => self.mark(&dispatch, created, sequence),
            Duty::Sweep => self.sweep(who),
            Duty::Look(found) => self.look(who, found),
            Duty::Act(found) => self.act(who, found),
        }
    }

    fn toil(&mut self, who: usize, what: Toil) {
        match what {
            Toil::Pull { call } => self.pull(who, call),
            Toil::Deliver(receipt, message) => self.take(who, receipt, message),
            Toil::Job(job, step) => self.work(who, job, step),
            Toil::Reply(job, answer) => self.answered(who, job, answer),
        }
    }

    fn restart(&mut self, coordinator: bool, who: usize) {
        let process = if coordinator {
            &mut self.coordinators[who].process
        } else {
            &mut self.workers[who].process
        };
        process.down = false;
        let delay = self.rng.between(10, 2_000);
        if coordinator {
            self.coordinator_after(delay, who, Duty::Sweep);
        } else {
            self.call_pull(who, delay);
        }
    }

    pub(crate) fn at(&mut self, at: u64, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.order, what }));
    }

    pub(crate) fn after(&mut self, ms: u64, what: Happening) {
        self.at(self.now + ms, what);
    }

    pub(crate) fn coordinator_after(&mut self, ms: u64, who: usize, what: Duty) {
        let life = self.coordinators[who].process.life;
        self.after(ms, Happening::Coordinator { who, life, what });
    }

    pub(crate) fn worker_after(&mut self, ms: u64, who: usize, what: Toil) {
        let life = self.workers[who].process.life;
        self.after(ms, Happening::Worker { who, life, what });
    }

    /// How long a message takes; now and then very long.
    pub(crate) fn way(&mut self) -> u64 {
        if self.rng.chance(self.weather.late) {
            return self.rng.between(500, 60_000);
        }
        self.rng.between(1, 40)
    }

    /// How often a message arrives: lost, once, twice.
    pub(crate) fn copies(&mut self) -> u32 {
        if self.rng.chance(self.weather.lose) {
            return 0;
        }
        1 + u32::from(self.rng.chance(self.weather.repeat))
    }

    /// Some coordinator that runs; one that is stopped looks alive from outside.
    pub(crate) fn any_coordinator(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.coordinators.len())
            .filter(|who| !self.coordinators[*who].process.down)
            .collect();
        (!up.is_empty()).then(|| *self.rng.pick(&up))
    }

    pub(crate) fn moment(&self) -> Timestamp {
        Timestamp::from_micros(EPOCH_MICROS).plus_ms(self.now)
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_LINES {
                trace.pop_front();
            }
            trace.push_back(format!("{now:>8} {}", line()));
        }
    }

    fn is_quiet(&self) -> bool {
        let ended = |run: &usize| {
            self.database.runs.get(run).is_some_and(|row| row.state.status.is_terminal())
        };
        self.runs.keys().all(ended)
            && self.database.attempts.is_empty()
            && self.stream.is_empty()
            && self.workers.iter().all(|worker| worker.jobs.is_empty())
    }

    fn check_patience(&mut self) {
        let late = self.calm_since.is_some_and(|since| self.now > since + PATIENCE_MS);
        if !late {
            return;
        }
        let waiting: Vec<String> = self
            .runs
            .keys()
            .map(|run| match self.database.runs.get(run) {
                Some(row) => {
                    format!("run-{run} is {} at {:?}", row.state.status.as_str(), row.state.active)
                }
                None => format!("run-{run} never started"),
            })
            .collect();
        let attempts: Vec<String> =
            self.database.attempts.keys().map(ToString::to_string).collect();
        self.checker.fail(format!(
            "not everything ends: {}; attempts {attempts:?}, stream empty: {}",
            waiting.join("; "),
            self.stream.is_empty()
        ));
    }
}
