//! An outstanding attempt brought something, or was given up.

mod answer;
mod diagnosis;
mod failure;
mod insight;
mod message;

use serde_json::{Map, Value, json};
use sluice_proto::event::{EventBody, Next, RollbackStep};
use sluice_proto::ids::AgentName;

use self::answer::{agent_answered, gate_answered};
pub(super) use self::failure::fail_or_retry;
pub(crate) use self::failure::{MAX_ERROR_CHARS, NOT_EXECUTED, agent_error_type, clip, clip_error};
use self::insight::{MAX_INSIGHTS, capture};
use self::message::{delivery_settled, message_settled};
use super::{Refused, Report, Situation};
use crate::event::NewEvent;
use crate::path::{Job, Work};
use crate::plan::ask_or_pass;
use crate::state::{Phase, State};
use crate::template::{AgentCall, Approval, Gate, LlmGate, NotificationStep, StepKind};
use crate::wish::wishes;

/// Retries of engine work: gates, risk assessments, deliveries.
const ENGINE_RETRIES: u32 = 2;

/// An attempt that the state waits for.
pub(super) struct Outstanding<'t> {
    path: String,
    attempt: u32,
    agent: AgentName,
    work: OutstandingWork<'t>,
}

enum OutstandingWork<'t> {
    Agent(&'t AgentCall),
    Gate(&'t LlmGate),
    Risk(&'t Approval),
    Message(&'t NotificationStep),
    /// Undoes what the agent did before it failed.
    Undo(&'t AgentCall),
    /// Finds out why the step's agent keeps failing.
    Diagnosis,
    /// Tells people about an approval, or delivers a lifecycle notification.
    Delivery,
    /// Waits for its lock, and is decided without anybody once it has it.
    Unattended,
}

impl<'t> Outstanding<'t> {
    /// Finds the attempt among those that the state waits for.
    pub(super) fn find(
        situation: &Situation<'t>,
        state: &State,
        path: &str,
        visit: u32,
        attempt: u32,
    ) -> Result<Self, Refused> {
        let wishes = wishes(situation.template, state);
        let wish = wishes.attempts.into_iter().find(|wish| wish.is(path, visit, attempt));
        let wish = wish.ok_or(Refused::NotOutstanding)?;
        let work = work(situation, path).ok_or(Refused::NotOutstanding)?;
        Ok(Self { path: path.to_owned(), attempt, agent: wish.agent, work })
    }

    /// The own work of a step, whether or not its attempt was dispatched.
    pub(super) fn own(situation: &Situation<'t>, step: &str, attempt: u32) -> Self {
        let unattended = situation.template.step(step).map(|_| OutstandingWork::Unattended);
        let work = work(situation, step).or(unattended).unwrap_or(OutstandingWork::Delivery);
        let agent = match &work {
            OutstandingWork::Agent(call) | OutstandingWork::Undo(call) => call.agent.clone(),
            _ => AgentName::notify(),
        };
        Self { path: step.to_owned(), attempt, agent, work }
    }

    fn max_retries(&self, situation: &Situation<'_>) -> u32 {
        match self.work {
            OutstandingWork::Agent(_) | OutstandingWork::Undo(_) => {
                let effects = situation.agents.traits(&self.agent).effects;
                situation.template.retry_limits(self.around(), effects).max_retries
            }
            OutstandingWork::Diagnosis => 0,
            _ => ENGINE_RETRIES,
        }
    }

    /// The step that events name: deliveries have a path of their own.
    fn step(&self) -> &str {
        match self.work {
            OutstandingWork::Undo(_) => &self.path,
            _ => self.around(),
        }
    }

    /// The step that the work is of, or a delivery's own path.
    fn around(&self) -> &str {
        match (&self.work, Work::parse(&self.path)) {
            (OutstandingWork::Delivery, _) | (_, Work::Notification(_)) => &self.path,
            (_, Work::Step { step, .. }) => step,
        }
    }
}

fn work<'t>(situation: &Situation<'t>, path: &str) -> Option<OutstandingWork<'t>> {
    let Work::Step { step, job } = Work::parse(path) else {
        return Some(OutstandingWork::Delivery);
    };
    if job == Job::Announcement {
        return Some(OutstandingWork::Delivery);
    }
    let step = situation.template.step(step)?;
    match (job, &step.kind) {
        (Job::Own, StepKind::AgentCall(call)) => Some(OutstandingWork::Agent(call)),
        (Job::Undo, StepKind::AgentCall(call)) => Some(OutstandingWork::Undo(call)),
        (Job::Diagnosis, StepKind::AgentCall(_)) => Some(OutstandingWork::Diagnosis),
        (Job::Gate, StepKind::AgentCall(AgentCall { gate: Some(Gate::Llm(gate)), .. })) => {
            Some(OutstandingWork::Gate(gate))
        }
        (Job::Risk, StepKind::Approval(approval)) => Some(OutstandingWork::Risk(approval)),
        (Job::Own, StepKind::Notification(message)) => Some(OutstandingWork::Message(message)),
        _ => None,
    }
}

pub(super) fn decide(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    report: Report,
) -> Result<Vec<NewEvent>, Refused> {
    let Report { outcome, duration_ms, usage, insights } = report;
    let mut events = match outcome {
        Err(error) => fail_or_retry(situation, state, outstanding, &error),
        Ok(answer) => {
            let done = Done { attempt: outstanding.attempt, duration_ms, usage };
            succeed(situation, state, outstanding, answer, done)
        }
    };
    // Findings come first: a run that ends with this result ends with its findings recorded.
    let found = insights.iter().take(MAX_INSIGHTS).enumerate();
    events.splice(0..0, found.filter_map(|(n, insight)| capture(state, outstanding, n, insight)));
    Ok(events)
}

struct Done {
    attempt: u32,
    duration_ms: u64,
    usage: Option<sluice_proto::message::Usage>,
}

fn succeed(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    answer: Map<String, Value>,
    done: Done,
) -> Vec<NewEvent> {
    match outstanding.work {
        OutstandingWork::Agent(call) => {
            agent_answered(situation, state, outstanding, call, answer, done)
        }
        OutstandingWork::Gate(gate) => gate_answered(situation, state, outstanding, gate, answer),
        OutstandingWork::Risk(approval) => {
            let mut assessment = answer;
            // Whatever the model claims about it.
            assessment.insert("decided_by".to_owned(), json!("model"));
            ask_or_pass(situation.template, state, outstanding.step(), approval, assessment)
        }
        OutstandingWork::Message(message) => {
            message_settled(situation, state, outstanding.step(), message, "delivered", None)
        }
        OutstandingWork::Delivery => {
            vec![delivery_settled(state, outstanding, "delivered", None)]
        }
        OutstandingWork::Undo(_) => {
            let step = outstanding.around();
            let body = RollbackStep {
                reason: state.error_message.clone().unwrap_or_default(),
                by_step: step.to_owned(),
                compensated: Some(after_undoing(state, step)),
            };
            vec![NewEvent::of(step, EventBody::RollbackStep(body))]
        }
        OutstandingWork::Diagnosis => diagnosis::found(situation, state, outstanding, answer),
        OutstandingWork::Unattended => Vec::new(),
    }
}

/// Where the run goes once the agent has tried to undo what it did.
fn after_undoing(state: &State, step: &str) -> Next {
    match state.active.get(step).map(|position| &position.phase) {
        Some(Phase::Compensating { next }) => next.clone(),
        _ => Next::default(),
    }
}
