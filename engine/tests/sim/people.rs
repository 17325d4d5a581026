//! People: they decide late, twice, at the wrong time, under several names or none. Starts come from
//! callers that ask until somebody answers.

use serde_json::{Map, json};
use sluice_engine::{Cancel, Decision, Input, Retry, Suspend};
use sluice_proto::event::Status;

use super::item::{Item, ReplyTo, Work};
use super::world::{Happening, World};

const NAMES: [Option<&str>; 5] = [Some("ada"), Some("bob"), Some("cleo"), None, Some("ada")];

impl World<'_> {
    /// Asks for a run, and asks again unless it exists by then.
    pub(crate) fn ask_for(&mut self, run: usize) {
        if self.database.runs.contains_key(&run) && self.rng.chance(0.8) {
            return;
        }
        let environment = *self.rng.pick(&["staging", "production"]);
        let number = self.rng.between(0, 6);
        let context = Map::from_iter([
            ("environment".to_owned(), json!(environment)),
            ("number".to_owned(), json!(number)),
            ("regions".to_owned(), json!((0..number).collect::<Vec<_>>())),
        ]);
        self.send_input(&Item {
            run,
            work: Work::Given(Input::Start { context }),
            reply_to: ReplyTo::Nobody,
        });
        let delay = self.rng.between(500, 10_000);
        self.after(delay, Happening::Ask { run });
    }

    /// Decides about some of what waits, and sometimes about what does not.
    pub(crate) fn people(&mut self) {
        let waiting: Vec<usize> = self.database.approvals.values().copied().collect();
        let anything: Vec<usize> = self.runs.keys().copied().collect();
        let mut chosen: Vec<usize> = waiting.into_iter().filter(|_| self.rng.chance(0.4)).collect();
        if self.rng.chance(0.2) {
            chosen.push(*self.rng.pick(&anything));
        }
        for run in chosen {
            let times = if self.rng.chance(0.2) { 2 } else { 1 };
            for _ in 0..times {
                self.decide(run);
            }
        }
        let is_held_up = |run: &&usize| {
            self.database.runs.get(*run).is_some_and(|row| row.state.suspension.is_some())
        };
        let held_up: Vec<usize> = self.runs.keys().filter(is_held_up).copied().collect();
        for run in held_up {
            if self.rng.chance(0.3) {
                let work = Work::Given(Input::Continue { by: "ada".to_owned() });
                self.send_input(&Item { run, work, reply_to: ReplyTo::Nobody });
            }
        }
        if self.rng.chance(0.04) {
            let run = *self.rng.pick(&anything);
            self.steer(run);
        }
        let delay = self.rng.between(1_000, 15_000);
        self.after(delay, Happening::People);
    }

    /// Has a failed run go on from where it failed, and ends any other.
    fn steer(&mut self, run: usize) {
        let Some(row) = self.database.runs.get(&run) else { return };
        let input = match (row.state.status, row.state.failed_step.clone()) {
            (Status::Failed, Some(step)) => {
                self.counts.count("retries asked for by people");
                Input::Retry(Retry { step, max_retries: 2, requested_by: "ada".to_owned() })
            }
            _ if self.rng.chance(0.5) => {
                self.counts.count("pauses by an operator");
                Input::Suspend(Suspend { reason: "wait".to_owned(), by: "ada".to_owned() })
            }
            _ => {
                self.counts.count("cancellations asked for");
                let force = self.rng.chance(0.3);
                let cancelled_by = "ada".to_owned();
                Input::Cancel(Cancel { reason: "enough".to_owned(), cancelled_by, force })
            }
        };
        self.send_input(&Item { run, work: Work::Given(input), reply_to: ReplyTo::Nobody });
    }

    fn decide(&mut self, run: usize) {
        let decision = Decision {
            approved: self.rng.chance(0.75),
            approver: self.rng.pick(&NAMES).map(str::to_owned),
            approver_role: Some("devops_engineer".to_owned()),
            comment: Some("seen".to_owned()),
            ..Decision::default()
        };
        self.send_input(&Item {
            run,
            work: Work::Given(Input::Decision(decision)),
            reply_to: ReplyTo::Nobody,
        });
    }

    /// Puts an input on the network, towards whichever coordinator takes it.
    pub(crate) fn send_input(&mut self, item: &Item) {
        for _ in 0..self.copies() {
            let way = self.way();
            self.after(way, Happening::Input(item.clone()));
        }
    }
}
