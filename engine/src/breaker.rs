//! Circuit breakers: a step that keeps failing across runs is not tried again for a while.
//!
//! A breaker belongs to a step of a template file. It counts executions that failed for good, one after the
//! other, whatever run they were in; at its threshold it opens. An open breaker refuses the step at once. After
//! its recovery time it lets one execution through as a trial, then the next; two that work close it, one that
//! fails opens it anew.
//!
//! The functions are pure: what stands in the table comes in with the situation, what changes goes out as an
//! effect. The event says what was decided, so that no replay asks a breaker.

use std::collections::BTreeMap;

use sluice_proto::event::{EventBody, FailStep};
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;

use crate::decide::Situation;
use crate::effect::Effect;
use crate::event::NewEvent;
use crate::plan;
use crate::route;
use crate::scope::RunScope;
use crate::state::{Phase, State};
use crate::template::{CircuitBreaker, StepKind, Template};

/// How long an open breaker refuses everybody, milliseconds.
pub const RECOVERY_MS: u64 = 60_000;
/// Trials that must work before it closes.
pub const SUCCESSES_TO_CLOSE: u32 = 2;
/// How long a trial keeps others out when nothing is heard of it, milliseconds.
pub const TRIAL_MS: u64 = 600_000;

/// The breakers of one template that are not as new, by step.
pub type Breakers = BTreeMap<String, Breaker>;

/// A breaker as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Executions that failed for good since the last one that worked.
    pub failures: u32,
    /// Trials that worked since it opened.
    pub successes: u32,
    /// When it opened; none while it is closed.
    pub opened_at: Option<Timestamp>,
    /// The one execution that is let through.
    pub trial: Option<Trial>,
}

/// An execution that shows whether the step works again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The run it is in.
    pub workflow_id: WorkflowId,
    /// Until when it keeps others out.
    pub until: Timestamp,
}

/// What becomes of a breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// A run tries the step.
    Tried {
        /// That run.
        trial: Trial,
    },
    /// An execution failed for good.
    Failed {
        /// In this run.
        workflow_id: WorkflowId,
        /// Failures in a row that open it.
        threshold: u32,
        /// When.
        at: Timestamp,
    },
    /// An execution worked.
    Succeeded {
        /// In this run.
        workflow_id: WorkflowId,
    },
    /// A trial has neither worked nor failed: its run is elsewhere.
    Abandoned {
        /// That run.
        workflow_id: WorkflowId,
    },
}

enum Admission {
    Free,
    Trial,
    Refused { until: Timestamp },
}

impl Breaker {
    /// Whether nothing is known of the step but that it works.
    #[must_use]
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// Since when an execution may be tried, while it is open.
    #[must_use]
    pub fn retry_at(&self) -> Option<Timestamp> {
        let recovered = self.opened_at?.plus_ms(RECOVERY_MS);
        Some(self.trial.as_ref().map_or(recovered, |trial| trial.until.max(recovered)))
    }

    /// `closed`, `open`, or `half_open` once a trial may be made or is under way.
    #[must_use]
    pub fn word(&self, now: Timestamp) -> &'static str {
        match self.opened_at {
            None => "closed",
            Some(opened_at) if self.trial.is_some() || now >= opened_at.plus_ms(RECOVERY_MS) => {
                "half_open"
            }
            Some(_) => "open",
        }
    }

    /// The breaker after `change`.
    #[must_use]
    pub fn after(&self, change: &BreakerChange) -> Self {
        let ours = |id: &WorkflowId| self.trial.as_ref().is_some_and(|t| t.workflow_id == *id);
        let without = |id: &WorkflowId| self.trial.clone().filter(|_| !ours(id));
        match change {
            BreakerChange::Tried { trial } => Self { trial: Some(trial.clone()), ..self.clone() },
            BreakerChange::Abandoned { workflow_id } => {
                Self { trial: without(workflow_id), ..self.clone() }
            }
            BreakerChange::Failed { workflow_id, threshold, at } => {
                let failures = self.failures.saturating_add(1);
                let opens = self.opened_at.is_some() || failures >= *threshold;
                Self {
                    failures,
                    successes: 0,
                    opened_at: opens.then_some(*at),
                    trial: without(workflow_id),
                }
            }
            BreakerChange::Succeeded { .. } if self.opened_at.is_none() => Self::default(),
            // One that began before the breaker opened says nothing about the step as it is now.
            BreakerChange::Succeeded { workflow_id } if !ours(workflow_id) => self.clone(),
            BreakerChange::Succeeded { .. } if self.successes + 1 >= SUCCESSES_TO_CLOSE => {
                Self::default()
            }
            BreakerChange::Succeeded { .. } => {
                Self { successes: self.successes + 1, trial: None, ..self.clone() }
            }
        }
    }

    /// A person who has the step run again makes the trial themselves, and needs not wait for its time.
    fn admits(&self, by_person: bool, now: Timestamp) -> Admission {
        let Some(opened_at) = self.opened_at else { return Admission::Free };
        match &self.trial {
            Some(trial) if trial.until > now => Admission::Refused { until: trial.until },
            _ if by_person || now >= opened_at.plus_ms(RECOVERY_MS) => Admission::Trial,
            _ => Admission::Refused { until: opened_at.plus_ms(RECOVERY_MS) },
        }
    }
}

impl Template {
    /// The breaker of a step, if it has one.
    #[must_use]
    pub fn breaker(&self, step: &str) -> Option<&CircuitBreaker> {
        let breaker = self.error_handling.get(step)?.circuit_breaker.as_ref()?;
        Some(breaker).filter(|breaker| breaker.enabled)
    }

    /// Whether any step has a breaker.
    #[must_use]
    pub fn has_breakers(&self) -> bool {
        self.error_handling.keys().any(|step| self.breaker(step).is_some())
    }
}

/// The breakers of one advance: what was asked of them, and what becomes of them.
pub(crate) struct Asked<'s> {
    situation: &'s Situation<'s>,
    /// Positions that were let through before, or in this advance: by path and visit.
    admitted: Vec<(String, u32)>,
    changes: Vec<(String, BreakerChange)>,
}

impl<'s> Asked<'s> {
    pub(crate) fn new(situation: &'s Situation<'s>, before: &State) -> Self {
        let mut asked = Self { situation, admitted: Vec::new(), changes: Vec::new() };
        if !situation.breakers.is_empty() {
            // What became workable while an operator held the run up was not asked about.
            let asked_before = |(path, visit, _): (String, u32, String)| {
                let begun = format!("{path}:{visit}:");
                let held_up = before.suspension.as_ref();
                held_up
                    .is_none_or(|held_up| held_up.in_flight.iter().any(|n| n.starts_with(&begun)))
                    .then_some((path, visit))
            };
            asked.admitted = workable(situation.template, before)
                .filter_map(asked_before)
                .chain(diagnosed(before))
                .collect();
        }
        asked
    }

    /// Notes what an event, about to be applied, says about a breaker.
    pub(crate) fn hear(&mut self, state: &State, event: &NewEvent) {
        let template = self.situation.template;
        let path = event.step.as_deref().unwrap_or_default();
        let Some(step) = template.step(path) else { return };
        let Some(breaker) = template.breaker(&step.path) else { return };
        let workflow_id = state.workflow_id.clone();
        let change = match &event.body {
            EventBody::FailStep(FailStep { is_final: true, exhausted: true, .. }) => {
                BreakerChange::Failed {
                    workflow_id,
                    threshold: breaker.failure_threshold,
                    at: self.situation.now,
                }
            }
            // What is as new need not hear that the step works.
            EventBody::RecordOutput(_) | EventBody::CompleteStep(_)
                if self.situation.breakers.contains_key(&step.path)
                    && answers(state, path)
                    && matches!(step.kind, StepKind::AgentCall(_)) =>
            {
                BreakerChange::Succeeded { workflow_id }
            }
            _ => return,
        };
        self.changes.push((step.path.clone(), change));
    }

    /// The failures of steps that have just become workable behind an open breaker. Asked when nothing else
    /// follows any more, and before anything is dispatched.
    pub(crate) fn refusals(&mut self, state: &State) -> Vec<NewEvent> {
        if self.situation.breakers.is_empty() || state.suspension.is_some() {
            return Vec::new();
        }
        let mut events = Vec::new();
        for (path, visit, step) in workable(self.situation.template, state) {
            if self.admitted.contains(&(path.clone(), visit)) {
                continue;
            }
            self.admitted.push((path.clone(), visit));
            let breaker = self.current(&step);
            let now = self.situation.now;
            let by_person = state.active.get(&path).is_some_and(|position| position.by_person);
            match breaker.admits(by_person, now) {
                Admission::Free => {}
                Admission::Trial => {
                    let workflow_id = state.workflow_id.clone();
                    let trial = Trial { workflow_id, until: now.plus_ms(TRIAL_MS) };
                    self.changes.push((step, BreakerChange::Tried { trial }));
                }
                Admission::Refused { until } => events.push(self.refusal(state, &path, until)),
            }
        }
        events
    }

    /// The breaker with what this advance has already made of it.
    fn current(&self, step: &str) -> Breaker {
        let stored = self.situation.breakers.get(step).cloned().unwrap_or_default();
        let own = self.changes.iter().filter(|(of, _)| of == step);
        own.fold(stored, |breaker, (_, change)| breaker.after(change))
    }

    fn refusal(&self, state: &State, path: &str, until: Timestamp) -> NewEvent {
        let template = self.situation.template;
        let error = format!(
            "the circuit breaker of this step is open after failures in other runs; it is tried again after {until}"
        );
        let attempt = state.active.get(path).map_or(1, |position| position.attempt);
        let next = route::after_failure(template, &RunScope::at(template, state, path), path);
        plan::fail(path, "circuit_open", error, attempt, next)
    }

    /// What the coordinator has to change. A trial whose position is gone unsettled lets go of the breaker.
    pub(crate) fn effects(mut self, before: &State, after: &State) -> Vec<Effect> {
        let workflow_id = &after.workflow_id;
        for (step, breaker) in self.situation.breakers {
            let tries = breaker.trial.as_ref().is_some_and(|t| t.workflow_id == *workflow_id);
            let settled = self.changes.iter().any(|(of, _)| of == step);
            let there = |state: &State| {
                state.active.keys().any(|path| {
                    self.situation.template.step(path).is_some_and(|found| found.path == *step)
                })
            };
            if tries && !settled && there(before) && !there(after) {
                let workflow_id = workflow_id.clone();
                self.changes.push((step.clone(), BreakerChange::Abandoned { workflow_id }));
            }
        }
        self.changes
            .into_iter()
            .map(|(step, change)| Effect::ChangeBreaker { step, change })
            .collect()
    }
}

/// Positions with a breaker that could be worked on: path, visit, step.
fn workable<'a>(
    template: &'a Template,
    state: &'a State,
) -> impl Iterator<Item = (String, u32, String)> + 'a {
    state.active.iter().filter_map(move |(path, position)| {
        let step = template.step(path)?;
        let calls = matches!(step.kind, StepKind::AgentCall(_));
        let ready = matches!(position.phase, Phase::Ready | Phase::Queued { .. });
        (calls && ready && state.has_lock(path, position) && template.breaker(&step.path).is_some())
            .then(|| (path.clone(), position.visit, step.path.clone()))
    })
}

/// Positions that were let through, and go on once it is known why they failed.
fn diagnosed(state: &State) -> impl Iterator<Item = (String, u32)> + '_ {
    let diagnosed = state
        .active
        .iter()
        .filter(|(_, position)| matches!(position.phase, Phase::Diagnosing { .. }));
    diagnosed.map(|(path, position)| (path.clone(), position.visit))
}

/// Whether the agent of this position has not answered before.
fn answers(state: &State, path: &str) -> bool {
    let phase = state.active.get(path).map(|position| &position.phase);
    matches!(phase, Some(Phase::Ready | Phase::Queued { .. }))
}
