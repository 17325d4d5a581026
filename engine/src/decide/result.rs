//! An outstanding attempt brought something, or was given up.

use serde_json::{Map, Value, json};
use sluice_proto::event::{
    CaptureInsight, CompleteStep, EventBody, FailStep, Next, Notify, RecordOutput, RetryStep,
    RollbackStep,
};
use sluice_proto::ids::AgentName;
use sluice_proto::message::AgentError;

use super::{Refused, Report, Situation, is_retriable};
use crate::backoff;
use crate::event::NewEvent;
use crate::path::{Job, Work};
use crate::plan::{ask_or_pass, diversion};
use crate::route;
use crate::scope::RunScope;
use crate::state::{Phase, State};
use crate::template::{AgentCall, Approval, Gate, LlmGate, NotificationStep, StepKind};
use crate::wish::wishes;

/// Retries of engine work: gates, risk assessments, deliveries.
const ENGINE_RETRIES: u32 = 2;
/// Findings taken from one result.
const MAX_INSIGHTS: usize = 20;
/// Characters kept of one finding.
const MAX_INSIGHT_CHARS: usize = 500;
/// Characters kept of an error message.
pub(crate) const MAX_ERROR_CHARS: usize = 4_000;

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

/// Failures of an attempt that its agent was never called for.
const NOT_EXECUTED: [&str; 3] = ["lock_timeout", "queue_timeout", "command_too_large"];

fn agent_answered(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    call: &AgentCall,
    result: Map<String, Value>,
    done: Done,
) -> Vec<NewEvent> {
    let (template, path) = (situation.template, outstanding.step());
    let scope = RunScope::at(template, state, path).answered(path, &result);
    let complete = CompleteStep {
        attempt: Some(done.attempt),
        duration_ms: Some(done.duration_ms),
        usage: done.usage.clone(),
        rolled_back: call.is_rollback,
        ..CompleteStep::default()
    };
    match &call.gate {
        None => {
            let next = route::to(template, &scope, path, call.on_success.as_ref());
            vec![completed(path, CompleteStep { result, next, ..complete })]
        }
        Some(Gate::Deterministic(branch)) => {
            let check = scope.with(|roots| branch.condition.check(roots));
            let target = if check.holds { &branch.on_true } else { &branch.on_false };
            let next = route::to(template, &scope, path, Some(target));
            let why = || match &check.reason {
                Some(reason) => format!("'{}' does not hold: {reason}", branch.condition.source()),
                None => format!("'{}' is {}", branch.condition.source(), check.holds),
            };
            let failure_reason = diversion(template, &next, why);
            vec![completed(
                path,
                CompleteStep {
                    result,
                    next,
                    decision: Some(check.holds.to_string()),
                    decided_by: Some("condition".to_owned()),
                    failure_reason,
                    problems: check.reason.into_iter().chain(check.warning).collect(),
                    ..complete
                },
            )]
        }
        Some(Gate::Llm(gate)) => match route::by_rules(&gate.rules, &scope) {
            (Some(answer), problems) => {
                let complete = CompleteStep { problems, ..complete };
                routed(situation, state, outstanding, gate, answer, result, "rules", complete)
            }
            (None, _) => {
                let body = RecordOutput {
                    result,
                    attempt: done.attempt,
                    duration_ms: done.duration_ms,
                    usage: done.usage,
                };
                vec![NewEvent::of(path, EventBody::RecordOutput(body))]
            }
        },
    }
}

fn gate_answered(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    gate: &LlmGate,
    answer: Map<String, Value>,
) -> Vec<NewEvent> {
    let path = outstanding.step();
    let position = state.active.get(path).map(|position| &position.phase);
    let Some(Phase::Gate { result, agent_attempt, duration_ms, usage }) = position else {
        return Vec::new();
    };
    let is_rollback = route::is_rollback(situation.template, path);
    let complete = CompleteStep {
        attempt: Some(*agent_attempt),
        duration_ms: Some(*duration_ms),
        usage: usage.clone(),
        rolled_back: is_rollback,
        ..CompleteStep::default()
    };
    routed(situation, state, outstanding, gate, answer, result.clone(), "model", complete)
}

/// Follows a gate's answer, or fails the step: an answer without a route never means proceed.
#[expect(clippy::too_many_arguments, reason = "one story told from two places")]
fn routed(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    gate: &LlmGate,
    answer: Map<String, Value>,
    result: Map<String, Value>,
    decided_by: &str,
    complete: CompleteStep,
) -> Vec<NewEvent> {
    let (template, path) = (situation.template, outstanding.step());
    let routed = match route::by_answer(gate, &answer) {
        Ok(routed) => routed,
        Err(message) => {
            let error = AgentError {
                code: "gate_error".to_owned(),
                message,
                retryable: Some(false),
                retry_after_ms: None,
            };
            return fail_or_retry(situation, state, outstanding, &error);
        }
    };
    let result = merge(result, &answer, &routed);
    let scope = RunScope::at(template, state, path).answered(path, &result);
    let next = route::to(template, &scope, path, Some(routed.target));
    let failure_reason = diversion(template, &next, || {
        let reasoning = ["reasoning", "reason"].iter().find_map(|key| answer.get(*key)?.as_str());
        let decision = &routed.decision;
        reasoning.map_or_else(|| format!("the gate decided '{decision}'"), str::to_owned)
    });
    vec![completed(
        path,
        CompleteStep {
            result,
            next,
            decision: Some(routed.decision),
            decided_by: Some(decided_by.to_owned()),
            answer: Some(answer),
            failure_reason,
            ..complete
        },
    )]
}

/// The key the route was chosen by comes from the gate, whatever the agent called so; of the rest,
/// only what the agent did not say. A word is kept as it was compared: conditions of later steps read
/// it, and must not see another answer than the gate did.
fn merge(
    mut result: Map<String, Value>,
    answer: &Map<String, Value>,
    routed: &route::Routed<'_>,
) -> Map<String, Value> {
    for (key, value) in answer {
        if *key == routed.key {
            let word = value.is_string().then(|| json!(routed.decision));
            result.insert(key.clone(), word.unwrap_or_else(|| value.clone()));
        } else if !result.contains_key(key) {
            result.insert(key.clone(), value.clone());
        }
    }
    result
}

fn completed(path: &str, complete: CompleteStep) -> NewEvent {
    NewEvent::of(path, EventBody::CompleteStep(complete))
}

/// Tries again where that is allowed and can help; else the failure takes effect.
pub(super) fn fail_or_retry(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    error: &AgentError,
) -> Vec<NewEvent> {
    let retriable = is_retriable(error, situation, &outstanding.agent);
    let max_retries = outstanding.max_retries(situation);
    let step = outstanding.step();
    let mut fail = FailStep {
        error: error.message.chars().take(MAX_ERROR_CHARS).collect(),
        error_type: error_type(outstanding, error),
        retriable,
        attempt: outstanding.attempt,
        ..FailStep::default()
    };
    if retriable && outstanding.attempt <= max_retries {
        let nominal_ms = backoff::nominal_ms(outstanding.attempt);
        let wait_ms = backoff::jittered_ms(nominal_ms, situation.jitter)
            .max(error.retry_after_ms.unwrap_or(0).min(MAX_RETRY_AFTER_MS));
        let retry = RetryStep {
            retry_attempt: outstanding.attempt,
            max_retries,
            backoff_delay: backoff::seconds(nominal_ms),
            next_retry_at: situation.now.plus_ms(wait_ms),
            command: None,
        };
        return vec![
            NewEvent::of(step, EventBody::FailStep(fail)),
            NewEvent::of(step, EventBody::RetryStep(retry)),
        ];
    }
    match outstanding.work {
        OutstandingWork::Risk(approval) => {
            // Nobody could say how risky it is: then it is high, and a person decides.
            let assessment = Map::from_iter([
                ("risk_level".to_owned(), json!("high")),
                ("approver_role".to_owned(), json!("devops_engineer")),
                ("reasoning".to_owned(), json!(format!("risk unknown: {}", fail.error))),
                ("decided_by".to_owned(), json!("system")),
            ]);
            let asked = ask_or_pass(situation.template, state, step, approval, assessment);
            let failed = NewEvent::of(step, EventBody::FailStep(fail));
            std::iter::once(failed).chain(asked).collect()
        }
        OutstandingWork::Message(message) => {
            message_settled(situation, state, step, message, "failed", Some(fail.error))
        }
        OutstandingWork::Delivery => {
            vec![delivery_settled(state, outstanding, "failed", Some(fail.error))]
        }
        OutstandingWork::Undo(_) => {
            fail.is_final = true;
            fail.next = after_undoing(state, outstanding.around());
            vec![NewEvent::of(&outstanding.path, EventBody::FailStep(fail))]
        }
        OutstandingWork::Agent(_) | OutstandingWork::Gate(_) | OutstandingWork::Unattended => {
            fail.is_final = true;
            fail.exhausted = matches!(outstanding.work, OutstandingWork::Agent(..))
                && !NOT_EXECUTED.contains(&error.code.as_str());
            let entry = situation.template.error_handling_of(step);
            fail.compensates = fail.exhausted && entry.is_some_and(|entry| entry.rollback);
            fail.next = next_after_failure(situation, state, step, &fail);
            vec![NewEvent::of(step, EventBody::FailStep(fail))]
        }
    }
}

/// Longest `Retry-After` that is honoured, milliseconds: an hour.
const MAX_RETRY_AFTER_MS: u64 = 3_600_000;

fn next_after_failure(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    fail: &FailStep,
) -> Next {
    let output = Map::from_iter([
        ("status".to_owned(), json!("error")),
        ("error".to_owned(), json!(fail.error)),
        ("error_type".to_owned(), json!(fail.error_type)),
    ]);
    let scope = RunScope::at(situation.template, state, step).answered(step, &output);
    route::after_failure(situation.template, &scope, step)
}

fn error_type(outstanding: &Outstanding<'_>, error: &AgentError) -> String {
    match outstanding.work {
        // Whatever went wrong with a gate, the run sees one kind of failure.
        OutstandingWork::Gate(..) => "gate_error".to_owned(),
        _ if error.code.is_empty() => "agent_error".to_owned(),
        _ => error.code.chars().take(64).collect(),
    }
}

fn message_settled(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    message: &NotificationStep,
    status: &str,
    error: Option<String>,
) -> Vec<NewEvent> {
    let notify = Notify {
        notification_id: step.to_owned(),
        trigger: step.to_owned(),
        channels: message.message.channels.clone(),
        template: message.message.template.clone(),
        status: status.to_owned(),
        payload: None,
        error: error.clone(),
    };
    let mut result = Map::from_iter([("status".to_owned(), json!(status))]);
    if let Some(error) = error {
        result.insert("error".to_owned(), json!(error));
    }
    let scope = RunScope::at(situation.template, state, step);
    let next = route::to(situation.template, &scope, step, message.on_complete.as_ref());
    let complete = CompleteStep { result, next, ..CompleteStep::default() };
    vec![NewEvent::of(step, EventBody::Notify(notify)), completed(step, complete)]
}

fn delivery_settled(
    state: &State,
    outstanding: &Outstanding<'_>,
    status: &str,
    error: Option<String>,
) -> NewEvent {
    let requested = state.notifications.get(&outstanding.path).map(|delivery| &delivery.request);
    let notify = Notify {
        notification_id: outstanding.path.clone(),
        trigger: requested.map_or_else(|| "approval".to_owned(), |request| request.trigger.clone()),
        channels: requested.map_or_else(|| vec!["log".to_owned()], |r| r.channels.clone()),
        template: requested.and_then(|request| request.template.clone()),
        status: status.to_owned(),
        payload: None,
        error,
    };
    NewEvent::of(&outstanding.path, EventBody::Notify(notify))
}

fn capture(
    state: &State,
    outstanding: &Outstanding<'_>,
    index: usize,
    insight: &Value,
) -> Option<NewEvent> {
    let (content, kind, confidence) = match insight {
        Value::String(text) => (text.as_str(), None, None),
        Value::Object(fields) => (
            fields.get("content").or_else(|| fields.get("text"))?.as_str()?,
            fields.get("insight_type").or_else(|| fields.get("type")).and_then(Value::as_str),
            fields.get("confidence").and_then(Value::as_f64),
        ),
        _ => return None,
    };
    let step = outstanding.step();
    let body = CaptureInsight {
        insight_id: format!("{}-{}", state.sequence + 1, index + 1),
        agent_id: outstanding.agent.to_string(),
        insight_type: kind.unwrap_or("general").chars().take(64).collect(),
        content: content.chars().take(MAX_INSIGHT_CHARS).collect(),
        confidence: confidence.filter(|share| (0.0..=1.0).contains(share)).unwrap_or(0.8),
        source_step: step.to_owned(),
    };
    Some(NewEvent::of(step, EventBody::CaptureInsight(body)))
}
