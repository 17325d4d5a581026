//! A worker: pull, claim when the command says so, run under heartbeat, report until answered,
//! acknowledge last.

use std::collections::BTreeMap;
use std::rc::Rc;

use sluice_engine::Report;
use sluice_proto::message::Refusal;
use sluice_proto::timestamp::Timestamp;

use super::agent;
use super::breakage::Breakage;
use super::database::Key;
use super::item::{Item, ReplyTo, Work};
use super::jetstream::{ACK_WAIT_MS, Message, Receipt};
use super::world::{Happening, Process, Toil, World};

/// Attempts at the same time.
const SLOTS: usize = 3;
/// A command that another worker holds comes back after this, milliseconds.
const ELSEWHERE_MS: u64 = 15_000;

#[derive(Default)]
pub(crate) struct Worker {
    pub(crate) process: Process,
    pub(crate) jobs: BTreeMap<u64, Job>,
    next_job: u64,
    /// The call for work that counts, and when it is due.
    call: u64,
    call_at: u64,
}

pub(crate) struct Job {
    receipt: Receipt,
    message: Rc<Message>,
    /// The fence in force for it.
    fence: u64,
    stage: Stage,
}

enum Stage {
    Claiming,
    Executing,
    Reporting(Rc<Report>),
}

/// What a job does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum JobStep {
    /// Sends the claim or the result, and again until somebody answers.
    Ask,
    /// Shows that it is alive.
    Heartbeat,
    /// The agent has answered, or was stopped.
    Finish { in_time: bool },
}

/// A claim or a heartbeat.
#[derive(Clone)]
pub(crate) struct Letter {
    pub(crate) key: Key,
    pub(crate) fence: u64,
    pub(crate) worker: Rc<str>,
    pub(crate) is_claim: bool,
    pub(crate) reply_to: ReplyTo,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Granted { fence: u64, lease_until: Timestamp },
    Recorded,
    Refused(Refusal),
}

impl Worker {
    /// Everything in memory is gone. A process that starts again has another name, so that nothing
    /// that was granted to the former one is granted to it.
    pub(crate) fn crash(&mut self) {
        self.process = Process { life: self.process.life + 1, down: true, stopped_until: 0 };
        self.jobs.clear();
        self.call_at = 0;
    }
}

impl World<'_> {
    fn worker_name(&self, who: usize) -> Rc<str> {
        Rc::from(format!("worker-{who}.{}", self.workers[who].process.life))
    }

    /// Has a worker ask for work by then, if it does not anyway.
    pub(crate) fn call_pull(&mut self, who: usize, delay: u64) {
        let (now, worker) = (self.now, &mut self.workers[who]);
        if worker.call_at > now && worker.call_at <= now + delay {
            return;
        }
        worker.call += 1;
        worker.call_at = now + delay;
        let call = worker.call;
        self.worker_after(delay, who, Toil::Pull { call });
    }

    pub(crate) fn pull(&mut self, who: usize, call: u64) {
        if self.workers[who].call != call {
            return;
        }
        let room = self.workers[who].jobs.len() < SLOTS;
        let pulled = if room { self.stream.pull(self.now, &mut self.rng) } else { None };
        let Some((receipt, message)) = pulled else {
            let delay = self.rng.between(1_000, 5_000);
            return self.call_pull(who, delay);
        };
        self.note(|| format!("worker {who} pulls {} dispatch {}", message.key, message.dispatch));
        self.counts.count("deliveries");
        for _ in 0..self.copies() {
            let way = self.way();
            self.worker_after(way, who, Toil::Deliver(receipt, Rc::clone(&message)));
        }
        let delay = self.rng.between(1, 50);
        self.call_pull(who, delay);
    }

    pub(crate) fn take(&mut self, who: usize, receipt: Receipt, message: Rc<Message>) {
        let worker = &mut self.workers[who];
        // It runs here already, delivered twice. The first one acknowledges it.
        if worker.jobs.values().any(|job| job.message.key == message.key) {
            return;
        }
        worker.next_job += 1;
        let job = worker.next_job;
        let (fence, claim, lease_ms) = (message.fence, message.claim, message.lease_ms);
        worker.jobs.insert(job, Job { receipt, message, fence, stage: Stage::Claiming });
        self.worker_after(lease_ms / 3, who, Toil::Job(job, JobStep::Heartbeat));
        if claim {
            self.worker_after(0, who, Toil::Job(job, JobStep::Ask));
        } else {
            self.begin(who, job);
        }
    }

    pub(crate) fn work(&mut self, who: usize, id: u64, step: JobStep) {
        if !self.workers[who].jobs.contains_key(&id) {
            return;
        }
        if self.rng.chance(self.weather.crash_at_work) {
            return self.crash_worker(who);
        }
        match step {
            JobStep::Ask => self.ask(who, id),
            JobStep::Heartbeat => self.keep(who, id),
            JobStep::Finish { in_time } => self.finish(who, id, in_time),
        }
        self.worker_may_sleep(who);
    }

    /// The agent starts: from here on the world is touched.
    fn begin(&mut self, who: usize, id: u64) {
        let name = self.worker_name(who);
        let Some(job) = self.workers[who].jobs.get_mut(&id) else { return };
        job.stage = Stage::Executing;
        let (message, fence) = (Rc::clone(&job.message), job.fence);
        let needs_ms = match self.rng.below(20) {
            0 => self.rng.between(1_000, 120_000),
            1 | 2 => self.rng.between(10_000, 50_000),
            _ => self.rng.between(20, 4_000),
        };
        let in_time = needs_ms <= message.timeout_ms;
        let line = format!("{name} executes {} under fence {fence}", message.key);
        self.note(|| line);
        self.check_execution(&message, &name);
        let finish = Toil::Job(id, JobStep::Finish { in_time });
        self.worker_after(needs_ms.min(message.timeout_ms), who, finish);
    }

    fn finish(&mut self, who: usize, id: u64, in_time: bool) {
        let Some(job) = self.workers[who].jobs.get(&id) else { return };
        let message = Rc::clone(&job.message);
        let template = &self.scenery.templates[self.runs[&message.key.run]];
        let report = if in_time {
            agent::answer(&mut self.rng, template, message.kind, message.key.step())
        } else {
            agent::timed_out()
        };
        self.checker.given(&message.key, &report);
        if let Some(job) = self.workers[who].jobs.get_mut(&id) {
            job.stage = Stage::Reporting(Rc::new(report));
        }
        self.work(who, id, JobStep::Ask);
    }

    /// Sends the claim or the result; nobody's answer means ask again.
    fn ask(&mut self, who: usize, id: u64) {
        let worker = self.worker_name(who);
        let life = self.workers[who].process.life;
        let Some(job) = self.workers[who].jobs.get(&id) else { return };
        let (key, fence) = (job.message.key.clone(), job.fence);
        let reply_to = ReplyTo::Worker { who, life, job: id };
        match &job.stage {
            Stage::Claiming => {
                let letter = Letter { key, fence, worker, is_claim: true, reply_to };
                self.send_letter(&letter);
            }
            Stage::Executing => return,
            Stage::Reporting(report) => {
                let report = Rc::clone(report);
                let run = key.run;
                let work = Work::Result { key, fence, worker, report };
                self.send_input(&Item { run, work, reply_to });
            }
        }
        let delay = self.rng.between(1_000, 5_000);
        self.worker_after(delay, who, Toil::Job(id, JobStep::Ask));
    }

    fn keep(&mut self, who: usize, id: u64) {
        let worker = self.worker_name(who);
        let now = self.now;
        let Some(job) = self.workers[who].jobs.get(&id) else { return };
        let (receipt, message, fence) = (job.receipt, Rc::clone(&job.message), job.fence);
        if !matches!(job.stage, Stage::Claiming) {
            let key = message.key.clone();
            let reply_to = ReplyTo::Nobody;
            self.send_letter(&Letter { key, fence, worker, is_claim: false, reply_to });
        }
        if self.copies() > 0 {
            self.stream.postpone(receipt, now + ACK_WAIT_MS);
        }
        self.worker_after(message.lease_ms / 3, who, Toil::Job(id, JobStep::Heartbeat));
    }

    fn send_letter(&mut self, letter: &Letter) {
        for _ in 0..self.copies() {
            let way = self.way();
            self.after(way, Happening::Letter(letter.clone()));
        }
    }

    pub(crate) fn answered(&mut self, who: usize, id: u64, answer: Answer) {
        let now = self.moment();
        let careful = self.breakage != Some(Breakage::StaleGrantTaken);
        let Some(job) = self.workers[who].jobs.get_mut(&id) else { return };
        if self.rng.chance(self.weather.crash_at_work) {
            return self.crash_worker(who);
        }
        match (&job.stage, answer) {
            // A grant that was under way for longer than its lease is none: by now the attempt may have
            // ended as interrupted. The next claim tells.
            (Stage::Claiming, Answer::Granted { lease_until, .. })
                if now >= lease_until && careful => {}
            (Stage::Claiming, Answer::Granted { fence, .. }) => {
                job.fence = fence;
                self.begin(who, id);
            }
            (Stage::Claiming, Answer::Refused(Refusal::HeldByAnother)) => {
                let receipt = job.receipt;
                self.workers[who].jobs.remove(&id);
                self.stream.postpone(receipt, self.now + ELSEWHERE_MS);
            }
            (Stage::Claiming, Answer::Refused(_))
            | (Stage::Reporting(_), Answer::Recorded | Answer::Refused(_)) => {
                let receipt = job.receipt;
                self.workers[who].jobs.remove(&id);
                // A lost acknowledgement means that the command comes once more.
                if self.copies() > 0 {
                    self.stream.ack(receipt);
                }
                let delay = self.rng.between(1, 50);
                self.call_pull(who, delay);
            }
            // An answer to a question that was answered before.
            _ => {}
        }
    }
}
