//! A run as its events tell it: who worked when, what was waited for, and how each step ended.

use std::collections::BTreeMap;

use sluice_proto::event::{CompleteStep, Event, EventBody, Next, Status};
use sluice_proto::timestamp::Timestamp;

/// What became of a run so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Visits of steps, in order.
    pub(crate) stages: Vec<Stage>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<(Timestamp, Status)>,
    /// Locks that the run holds.
    pub(crate) held: Vec<String>,
    /// What it waits for a person for.
    pub(crate) decision: Option<Decision>,
    /// Who works, by step.
    workers: BTreeMap<String, String>,
}

/// One visit of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stage {
    pub(crate) step: String,
    pub(crate) who: String,
    pub(crate) segments: Vec<Segment>,
    /// None while it goes on.
    pub(crate) ended_well: Option<bool>,
    /// What it came to, in words.
    pub(crate) remark: String,
}

/// A stretch of time within a visit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    pub(crate) what: What,
    pub(crate) from: Timestamp,
    pub(crate) to: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Work,
    /// Waits for a lock of this name.
    Lock(String),
    /// Waits for a person in this role.
    Person(String),
}

/// What a person is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) role: String,
    pub(crate) risk: String,
    pub(crate) reasoning: String,
    /// What the approver is shown.
    pub(crate) details: Vec<(String, String)>,
}

impl History {
    pub(crate) fn of(workers: BTreeMap<String, String>) -> Self {
        Self { workers, ..Self::default() }
    }

    /// Takes the next event.
    pub(crate) fn apply(&mut self, event: &Event) {
        let at = event.timestamp;
        let step = event.step_id.as_deref().unwrap_or_default();
        match &event.body {
            EventBody::StartWorkflow(_) => {
                self.started = Some(at);
                self.enter(step, at);
            }
            EventBody::CompleteStep(done) => {
                let well = done.failure_reason.is_none();
                self.leave(step, at, well, remark(done));
                self.follow(&done.next, at);
            }
            EventBody::FailStep(failed) if failed.is_final => {
                self.leave(step, at, false, failed.error.clone());
                if !failed.compensates {
                    self.follow(&failed.next, at);
                }
            }
            EventBody::FailStep(failed) => self.remark(step, &format!("again: {}", failed.error)),
            EventBody::WaitLock(wait) => {
                self.turn(step, at, What::Lock(wait.resource_lock.clone()))
            }
            EventBody::AcquireLock(lock) => {
                self.held.push(lock.resource_lock.clone());
                self.turn(step, at, What::Work);
            }
            EventBody::ReleaseLock(lock) => self.held.retain(|held| *held != lock.resource_lock),
            EventBody::PauseWorkflow(pause) => {
                let text = |value: Option<&serde_json::Value>| {
                    value.and_then(|value| value.as_str()).unwrap_or_default().to_owned()
                };
                let role = pause.approver_role.clone().unwrap_or_else(|| "somebody".to_owned());
                let details =
                    pause.details.iter().map(|(name, value)| (name.clone(), plain(value)));
                self.decision = Some(Decision {
                    role: role.clone(),
                    risk: pause.risk_level.clone(),
                    reasoning: text(pause.risk_assessment.get("reasoning")),
                    details: details.collect(),
                });
                self.turn(step, at, What::Person(role));
            }
            EventBody::ApproveGate(approval) => {
                self.remark(step, &format!("approved by {}", approval.approver));
            }
            EventBody::RejectGate(rejection) => {
                self.remark(step, &format!("rejected by {}", rejection.rejector));
            }
            EventBody::ResumeWorkflow(resumed) => {
                self.decision = None;
                let remark = self.stage(step).map(|stage| stage.remark.clone()).unwrap_or_default();
                self.leave(step, at, resumed.decision == "approved", remark);
                self.follow(&resumed.next, at);
            }
            EventBody::RollbackStep(rollback) => {
                if let Some(next) = &rollback.compensated {
                    self.follow(next, at);
                }
            }
            EventBody::ExpireWorkflow(expired) => self.follow(&expired.next, at),
            EventBody::CancelWorkflow(cancelled) => self.follow(&cancelled.next, at),
            EventBody::CompleteWorkflow(end) => self.ended = Some((at, end.status)),
            EventBody::RecordOutput(_)
            | EventBody::RetryStep(_)
            | EventBody::Escalate(_)
            | EventBody::SuspendWorkflow(_)
            | EventBody::ContinueWorkflow(_)
            | EventBody::Notify(_)
            | EventBody::CaptureInsight(_)
            | EventBody::StartTimer(_)
            | EventBody::StartBranches(_)
            | EventBody::Annotate(_)
            | EventBody::CreateSnapshot(_)
            | EventBody::StartChildWorkflow(_)
            | EventBody::ChildWorkflowComplete(_) => {}
        }
    }

    /// The latest visit of a step.
    pub(crate) fn stage(&self, step: &str) -> Option<&Stage> {
        self.stages.iter().rev().find(|stage| stage.step == step)
    }

    fn stage_mut(&mut self, step: &str) -> Option<&mut Stage> {
        self.stages.iter_mut().rev().find(|stage| stage.step == step)
    }

    fn follow(&mut self, next: &Next, at: Timestamp) {
        if let (Some(step), None) = (&next.next_step, next.outcome) {
            self.enter(step, at);
        }
    }

    fn enter(&mut self, step: &str, at: Timestamp) {
        let who = self.workers.get(step).cloned().unwrap_or_default();
        let segments = vec![Segment { what: What::Work, from: at, to: None }];
        let step = step.to_owned();
        self.stages.push(Stage { step, who, segments, ended_well: None, remark: String::new() });
    }

    /// From now on the step does something else.
    fn turn(&mut self, step: &str, at: Timestamp, what: What) {
        if let Some(stage) = self.stage_mut(step) {
            stage.turn(what, at);
        }
    }

    fn leave(&mut self, step: &str, at: Timestamp, well: bool, remark: String) {
        if let Some(stage) = self.stage_mut(step) {
            stage.close(at);
            stage.ended_well = Some(well);
            stage.remark = remark;
        }
    }

    fn remark(&mut self, step: &str, text: &str) {
        if let Some(stage) = self.stage_mut(step) {
            stage.remark = text.to_owned();
        }
    }
}

impl Stage {
    pub(crate) fn from(&self) -> Option<Timestamp> {
        self.segments.first().map(|segment| segment.from)
    }

    /// What it does at the moment.
    pub(crate) fn now(&self) -> Option<&What> {
        self.segments.last().filter(|segment| segment.to.is_none()).map(|segment| &segment.what)
    }

    /// How long it took, or takes until now.
    pub(crate) fn elapsed_ms(&self, now: Timestamp) -> u64 {
        let to = self.segments.last().and_then(|segment| segment.to).unwrap_or(now);
        self.from().map_or(0, |from| to.ms_since(from))
    }

    /// Ends the last stretch.
    fn close(&mut self, at: Timestamp) {
        if let Some(last) = self.segments.last_mut() {
            last.to = Some(at);
        }
    }

    /// Goes on with another stretch; one before it that took no time never was.
    fn turn(&mut self, what: What, at: Timestamp) {
        self.close(at);
        self.segments.pop_if(|last| last.from == at);
        self.segments.push(Segment { what, from: at, to: None });
    }
}

/// What the agent said, and where a gate sent the run for which reason.
fn remark(done: &CompleteStep) -> String {
    let summary = done.result.get("summary").map(plain).unwrap_or_default();
    let (Some(by), Some(next)) = (&done.decided_by, &done.next.next_step) else { return summary };
    let reasoning = done.answer.as_ref().and_then(|answer| answer.get("reasoning")).map(plain);
    let reason = reasoning.map_or_else(|| by.clone(), |reason| format!("{by}: {reason}"));
    format!("{summary} → {next} ({reason})").trim_start().to_owned()
}

/// A value on one line.
fn plain(value: &serde_json::Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
