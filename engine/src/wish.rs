//! What a state wants to be outstanding in the world, and the commands of what it wants done.

use serde_json::{Value, json};
use sluice_proto::agents::{AgentCatalogue, DEFAULT_TIMEOUT_MS};
use sluice_proto::ids::{AgentName, WorkflowId};
use sluice_proto::message::{CommandKind, CommandLock, Recovery};
use sluice_proto::timestamp::Timestamp;

use crate::expr::{Missing, Text};
use crate::path::Job;
use crate::scope::RunScope;
use crate::state::{HeldLock, Phase, Position, State};
use crate::template::{AgentCall, Gate, LlmGate, Risk, Step, StepKind, Template};

/// An attempt that should be outstanding.
#[derive(Clone, Debug, PartialEq)]
pub struct WishedAttempt {
    /// Path of the work.
    pub path: String,
    /// Visit of its step, from 1.
    pub visit: u32,
    /// Execution of that visit, from 1.
    pub attempt: u32,
    /// What is asked for.
    pub kind: CommandKind,
    /// Who is asked.
    pub agent: AgentName,
    /// Not before this moment.
    pub due_at: Option<Timestamp>,
}

/// A lock that a position needs and the run does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WishedLock {
    /// Name of the lock.
    pub name: String,
    /// Step that needs it.
    pub step: String,
    /// Since when the step queues, once it does.
    pub queued_since: Option<Timestamp>,
    /// When the wait ends in a failure.
    pub wait_until: Option<Timestamp>,
}

/// A moment that a position waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WishedTimer {
    /// Step that waits.
    pub step: String,
    /// Visit of that step, from 1.
    pub visit: u32,
    /// The moment.
    pub due_at: Timestamp,
}

/// A run that a position waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WishedChild {
    /// Step that waits.
    pub step: String,
    /// Visit of that step, from 1.
    pub visit: u32,
    /// The child.
    pub workflow_id: WorkflowId,
}

/// Everything a state wants to be outstanding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Attempts, at most one a path.
    pub attempts: Vec<WishedAttempt>,
    /// Locks to get.
    pub locks: Vec<WishedLock>,
    /// Approvals that wait for people, by id.
    pub approvals: Vec<String>,
    /// Moments that are waited for.
    pub timers: Vec<WishedTimer>,
    /// Runs whose end is waited for.
    pub children: Vec<WishedChild>,
}

/// Everything `state` wants to be outstanding.
#[must_use]
pub fn wishes(template: &Template, state: &State) -> Wishes {
    let mut wishes = Wishes::default();
    for (path, position) in &state.active {
        let Some(step) = template.step(path) else { continue };
        wish_for_position(state, step, path, position, &mut wishes);
    }
    // Numbered by approval: one visit of a step may ask people twice, and the second message must not
    // be taken for the first.
    for (approval, number) in state.approvals.iter().zip(1..) {
        let Some(attempt) = approval.announcement_attempt else { continue };
        wishes.attempts.push(WishedAttempt {
            path: Job::Announcement.path(&approval.step),
            visit: number,
            attempt,
            kind: CommandKind::ApprovalRequest,
            agent: AgentName::notify(),
            due_at: approval.announcement_due_at,
        });
    }
    for (id, delivery) in &state.notifications {
        let Some(attempt) = delivery.attempt else { continue };
        wishes.attempts.push(WishedAttempt {
            path: id.clone(),
            visit: 1,
            attempt,
            kind: CommandKind::Notification,
            agent: AgentName::notify(),
            due_at: delivery.due_at,
        });
    }
    if let Some(suspension) = &state.suspension {
        let goes_on = |name: String| suspension.in_flight.contains(&name);
        wishes.attempts.retain(|attempt| goes_on(attempt.name()));
        wishes.locks.retain(|lock| goes_on(lock.name_in_queue()));
    }
    if let Some(due_at) = state.deadline_at.filter(|_| !state.status.is_terminal()) {
        let step = DEADLINE.to_owned();
        wishes.timers.push(WishedTimer { step, visit: state.retried + 1, due_at });
    }
    wishes
}

/// What the timer of a run's deadline is called in place of a step.
pub const DEADLINE: &str = "workflow.deadline";

fn wish_for_position(
    state: &State,
    step: &Step,
    path: &str,
    position: &Position,
    wishes: &mut Wishes,
) {
    let attempt = |job: Job, kind, agent| WishedAttempt {
        path: job.path(path),
        visit: position.visit,
        attempt: position.attempt,
        kind,
        agent,
        due_at: position.due_at,
    };
    match &position.phase {
        Phase::Ready | Phase::Queued { .. } if !state.has_lock(path, position) => {
            let queued_since = match position.phase {
                Phase::Queued { since } => Some(since),
                _ => None,
            };
            let asked_at = queued_since.unwrap_or(position.entered_at);
            let from = position.due_at.map_or(asked_at, |due_at| due_at.max(asked_at));
            wishes.locks.push(WishedLock {
                name: position.lock.clone().unwrap_or_default(),
                step: path.to_owned(),
                queued_since,
                wait_until: step.lock_wait_ms.map(|ms| from.plus_ms(ms)),
            });
        }
        Phase::Ready | Phase::Queued { .. } => match &step.kind {
            StepKind::AgentCall(call) => {
                wishes.attempts.push(attempt(Job::Own, CommandKind::AgentCall, call.agent.clone()))
            }
            StepKind::Approval(_) => wishes.attempts.push(attempt(
                Job::Risk,
                CommandKind::RiskAssessment,
                AgentName::llm(),
            )),
            StepKind::Notification(_) => wishes.attempts.push(attempt(
                Job::Own,
                CommandKind::Notification,
                AgentName::notify(),
            )),
            // Decided at once by `plan`.
            StepKind::Conditional(_)
            | StepKind::Terminal
            | StepKind::Wait(_)
            | StepKind::Fan(_)
            | StepKind::Workflow(_) => {}
        },
        Phase::Gate { .. } => {
            wishes.attempts.push(attempt(Job::Gate, CommandKind::Gate, AgentName::llm()));
        }
        Phase::Compensating { .. } => {
            if let StepKind::AgentCall(call) = &step.kind {
                let undo = attempt(Job::Undo, CommandKind::Compensate, call.agent.clone());
                wishes.attempts.push(undo);
            }
        }
        Phase::Diagnosing { by, .. } => {
            wishes.attempts.push(attempt(Job::Diagnosis, CommandKind::Diagnose, by.clone()));
        }
        Phase::Waiting { approval_id } => wishes.approvals.push(approval_id.clone()),
        // What is in them has wishes of its own.
        Phase::Branches => {}
        Phase::Child { workflow_id } => wishes.children.push(WishedChild {
            step: path.to_owned(),
            visit: position.visit,
            workflow_id: workflow_id.clone(),
        }),
        Phase::Timer { until } => wishes.timers.push(WishedTimer {
            step: path.to_owned(),
            visit: position.visit,
            due_at: *until,
        }),
    }
}

/// An attempt in full, as it is written and dispatched.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptDraft {
    /// Which attempt.
    pub wish: WishedAttempt,
    /// The run's lane.
    pub urgent: bool,
    /// The rendered payload.
    pub payload: Value,
    /// Must be claimed first.
    pub claim: bool,
    /// May be repeated after a claim.
    pub idempotent: bool,
    /// Longest execution, milliseconds.
    pub timeout_ms: u64,
    /// Longest stay in the queue, milliseconds.
    pub queue_timeout_ms: Option<u64>,
    /// Locks that the run holds.
    pub locks: Vec<CommandLock>,
    /// What is known about the failure after which it is tried again.
    pub recovery: Option<Recovery>,
}

/// How long a diagnosis may take, and how long it may wait for a worker, milliseconds.
const DIAGNOSIS_MS: u64 = 120_000;

/// Fills in what the command of a wished attempt says.
#[must_use]
pub fn draft(
    template: &Template,
    agents: &AgentCatalogue,
    state: &State,
    wish: WishedAttempt,
) -> AttemptDraft {
    let traits = agents.traits(&wish.agent);
    let step = template.step(&wish.path_of_step());
    // Asking a model costs money but can be repeated; telling people is repeated rather than lost.
    let (claim, idempotent) = match wish.kind {
        CommandKind::AgentCall | CommandKind::Compensate | CommandKind::Diagnose => {
            (traits.effects, traits.idempotent)
        }
        CommandKind::Gate | CommandKind::RiskAssessment => (true, true),
        CommandKind::ApprovalRequest | CommandKind::Notification => (false, true),
    };
    let own = matches!(wish.kind, CommandKind::AgentCall | CommandKind::Compensate);
    let timeout_ms = match step.and_then(|step| step.timeout_ms) {
        Some(timeout_ms) if own => timeout_ms,
        _ if own => traits.timeout_ms,
        _ if wish.kind == CommandKind::Diagnose => DIAGNOSIS_MS,
        _ => DEFAULT_TIMEOUT_MS,
    };
    let queue_timeout_ms = match wish.kind {
        CommandKind::Diagnose => Some(DIAGNOSIS_MS),
        _ => step.and_then(|step| step.queue_timeout_ms).filter(|_| own),
    };
    let position = state.active.get(&wish.path).filter(|_| wish.kind == CommandKind::AgentCall);
    AttemptDraft {
        urgent: template.urgent,
        payload: payload(template, state, step, &wish),
        claim,
        idempotent,
        locks: held_locks(state, &wish.path_of_step()),
        timeout_ms,
        queue_timeout_ms,
        recovery: position.and_then(|position| position.recovery.clone()),
        wish,
    }
}

fn held_locks(state: &State, path: &str) -> Vec<CommandLock> {
    let lock = |(name, held): (&String, &HeldLock)| CommandLock {
        name: name.clone(),
        fencing_number: held.fencing_number,
    };
    // Other branches' locks protect nothing here.
    state.locks.iter().filter(|(_, held)| held.counts_at(path)).map(lock).collect()
}

fn payload(template: &Template, state: &State, step: Option<&Step>, wish: &WishedAttempt) -> Value {
    let path = wish.path_of_step();
    let scope = RunScope::at(template, state, &path);
    match (wish.kind, step.map(|step| &step.kind)) {
        (CommandKind::AgentCall, Some(StepKind::AgentCall(call))) => {
            scope.with(|scope| call.payload.render(scope).value)
        }
        (CommandKind::Compensate, Some(StepKind::AgentCall(call))) => {
            let mut payload = scope.with(|scope| call.payload.render(scope).value);
            payload["action"] = json!("rollback");
            payload
        }
        (CommandKind::Diagnose, Some(StepKind::AgentCall(call))) => {
            let sent = scope.with(|scope| call.payload.render(scope).value);
            symptoms(state, &path, call, sent)
        }
        (
            CommandKind::Gate,
            Some(StepKind::AgentCall(AgentCall { gate: Some(Gate::Llm(gate)), .. })),
        ) => gate_payload(template, state, &path, scope, gate),
        (CommandKind::RiskAssessment, Some(StepKind::Approval(approval))) => match &approval.risk {
            Some(Risk::Llm { prompt, .. }) => {
                question(template, &scope, prompt, &["low", "medium", "high", "critical"])
            }
            _ => json!({}),
        },
        (CommandKind::Notification, Some(StepKind::Notification(step))) => {
            crate::notification::payload(&scope, &step.message, &wish.path)
        }
        (CommandKind::Notification, _) => state
            .notifications
            .get(&wish.path)
            .and_then(|delivery| delivery.request.payload.clone())
            .map_or_else(|| json!({}), Value::Object),
        (CommandKind::ApprovalRequest, _) => announcement(state, &path),
        _ => json!({}),
    }
}

/// What is known of a step that keeps failing.
fn symptoms(state: &State, path: &str, call: &AgentCall, sent: Value) -> Value {
    let Some(position) = state.active.get(path) else { return json!({}) };
    let Phase::Diagnosing { error, error_type, .. } = &position.phase else { return json!({}) };
    json!({
        "action": "diagnose",
        "step_id": path,
        "agent": call.agent,
        "payload": sent,
        "error": error,
        "error_type": error_type,
        "attempts": position.attempt,
        "recovery": position.recovery,
    })
}

fn gate_payload(
    template: &Template,
    state: &State,
    step: &str,
    scope: RunScope<'_>,
    gate: &LlmGate,
) -> Value {
    let answers: Vec<&str> = gate.routes.keys().map(String::as_str).collect();
    let scope = match state.active.get(step).map(|position| &position.phase) {
        Some(Phase::Gate { result, .. }) => scope.answered(step, result),
        _ => scope,
    };
    question(template, &scope, &gate.prompt, &answers)
}

fn question(template: &Template, scope: &RunScope<'_>, prompt: &Text, answers: &[&str]) -> Value {
    let chain: Vec<Value> = template
        .error_recovery
        .llm_fallback_chain
        .iter()
        .map(|entry| json!({"model": entry.model, "provider": entry.provider}))
        .collect();
    json!({
        "prompt": scope.with(|scope| prompt.render(scope, Missing::NotAvailable)),
        "answers": answers,
        "llm_fallback_chain": chain,
    })
}

fn announcement(state: &State, step: &str) -> Value {
    let Some(approval) = state.approvals.iter().rev().find(|approval| approval.step == step) else {
        return json!({});
    };
    let request = &approval.request;
    json!({
        "channels": ["log"],
        "approval_id": request.approval_id,
        "workflow_id": state.workflow_id,
        "template_name": state.template_name,
        "step_id": step,
        "reason": request.reason,
        "risk_level": request.risk_level,
        "approver_role": request.approver_role,
        "risk_assessment": request.risk_assessment,
        "details": request.details,
        "required": request.required,
    })
}

impl WishedLock {
    /// Names the place in the queue within its run.
    pub(crate) fn name_in_queue(&self) -> String {
        format!("lock {} for {}", self.name, self.step)
    }
}

impl WishedAttempt {
    /// Names the attempt within its run.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}:{}", self.path, self.visit, self.attempt)
    }

    /// Whether both name the same attempt.
    #[must_use]
    pub fn is(&self, path: &str, visit: u32, attempt: u32) -> bool {
        self.path == path && self.visit == visit && self.attempt == attempt
    }

    pub(crate) fn key(&self) -> (&str, u32, u32) {
        (&self.path, self.visit, self.attempt)
    }

    fn path_of_step(&self) -> String {
        match crate::path::Work::parse(&self.path) {
            crate::path::Work::Step { step, .. } => step.to_owned(),
            crate::path::Work::Notification(id) => id.to_owned(),
        }
    }
}

impl WishedLock {
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.name, &self.step)
    }
}
