//! `plan`: what follows next from a state alone, without anything from outside.
//!
//! Called again after what it brought was applied, until nothing follows.

use serde_json::{Map, Value, json};
use sluice_proto::event::{
    ApproveGate, CompleteStep, CompleteWorkflow, EventBody, FailStep, Next, Outcome, PauseWorkflow,
    ReleaseLock, ResumeWorkflow, RollbackStep, Status,
};
use sluice_proto::timestamp::Timestamp;

use crate::child;
use crate::escalation;
use crate::event::NewEvent;
use crate::fan;
use crate::notification;
use crate::path::branch_of;
use crate::route;
use crate::scope::RunScope;
use crate::state::{Ending, Phase, Position, State, StepRecord};
use crate::template::{Approval, Risk, Step, StepKind, Template};
use crate::wait;

/// Steps that one run may enter outside of branches, and each of its branches by itself; revisits
/// included.
pub const MAX_STEPS_PER_RUN: u32 = 100;
/// Steps that all branches of a run may enter together.
pub const MAX_INNER_STEPS_PER_RUN: u32 = 10_000;
/// Roles that a risk assessment may ask for; any other word is nobody's.
const ROLES: [&str; 6] =
    ["developer", "team_lead", "tech_lead", "devops_engineer", "cto", "security_team"];

/// The next events that follow from `state`, if any do.
pub(crate) fn plan(template: &Template, state: &State, now: Timestamp) -> Vec<NewEvent> {
    if state.status.is_terminal() || state.sequence == 0 {
        return Vec::new();
    }
    if state.suspension.is_some() {
        return Vec::new();
    }
    let told = escalation::due(template, state);
    let first = told.or_else(|| undone_step(template, state));
    if let Some(event) = first.or_else(|| release(template, state, now)) {
        return vec![event];
    }
    if let (Some(ending), true) = (&state.ending, state.active.is_empty()) {
        return vec![finish(template, state, ending)];
    }
    // First what becomes of branches: it may end what is under way in them.
    if let Some(event) = fan::proceed(template, state) {
        return vec![event];
    }
    let next = state
        .active
        .iter()
        .find_map(|(path, position)| advance_position(template, state, path, position, now));
    next.unwrap_or_default()
}

/// A rollback step has just worked: what the last agent before it did is undone.
fn undone_step(template: &Template, state: &State) -> Option<NewEvent> {
    let by_step = state.last_step.as_ref().filter(|_| state.rolled_back_last)?;
    if !route::is_rollback(template, by_step) {
        return None;
    }
    let acted = |id: &&str| {
        let step = template.step(id);
        step.is_some_and(Step::acts) && !route::is_rollback(template, id)
    };
    let diverted = state.way_back(by_step).skip(1).find(acted)?;
    if state.rollbacks.iter().any(|undone| undone == diverted) {
        return None;
    }
    let reason = state.error_message.clone().unwrap_or_default();
    let body = EventBody::RollbackStep(RollbackStep {
        reason,
        by_step: by_step.clone(),
        compensated: None,
    });
    Some(NewEvent::of(diverted, body))
}

fn release(template: &Template, state: &State, now: Timestamp) -> Option<NewEvent> {
    let unused = state.locks.iter().find(|(name, held)| {
        // A lock is held by the branch that took it, and moves on with that.
        let keeps = |(path, position): (&String, &Position)| {
            branch_of(path) == branch_of(&held.step)
                && route::keeps(template, state, name, path, position)
        };
        !state.active.iter().any(keeps) && !pausing(state)
    });
    unused.map(|(name, held)| {
        let body = ReleaseLock {
            resource_lock: name.clone(),
            held_ms: now.ms_since(held.since),
            forced: None,
        };
        NewEvent::of(&held.step, EventBody::ReleaseLock(body))
    })
}

/// A run on its way into a pause has no position for a moment, and keeps what it holds.
fn pausing(state: &State) -> bool {
    state.ending.as_ref().is_some_and(|ending| ending.outcome == Outcome::Paused)
}

fn finish(template: &Template, state: &State, ending: &Ending) -> NewEvent {
    if ending.outcome == Outcome::Paused {
        return changes_requested(template, state, ending);
    }
    if let Some(notify) = notification::next_due(template, state, ending) {
        return NewEvent { step: None, body: EventBody::Notify(notify) };
    }
    let status = state.status_at(ending);
    let failed = status != Status::Completed;
    let body = CompleteWorkflow {
        status,
        target: ending.target.clone(),
        failure_reason: failed.then(|| state.failure_reason.clone()).flatten(),
    };
    NewEvent { step: None, body: EventBody::CompleteWorkflow(body) }
}

/// Pauses on the step whose gate asked for changes, however many messages and people lay between.
fn changes_requested(template: &Template, state: &State, ending: &Ending) -> NewEvent {
    let gated = |step: &&str| template.step(step).is_some_and(Step::acts);
    let step = state.way_back(&ending.from).find(gated).unwrap_or(&ending.from);
    let details = state.outputs.get(step).and_then(Value::as_object).cloned();
    pause(
        state,
        step,
        PauseWorkflow {
            reason: "changes_requested".to_owned(),
            risk_level: "medium".to_owned(),
            details: details.unwrap_or_default(),
            required: 1,
            ..PauseWorkflow::default()
        },
    )
}

fn advance_position(
    template: &Template,
    state: &State,
    path: &str,
    position: &Position,
    now: Timestamp,
) -> Option<Vec<NewEvent>> {
    if !matches!(position.phase, Phase::Ready) {
        return None;
    }
    let step = template.step(path)?;
    if let Some(event) = over_budget(template, state, path, position) {
        return Some(vec![event]);
    }
    let scope = RunScope::at(template, state, path);
    if position.lock.as_deref() == Some("") {
        let error = "the name of the resource lock rendered to nothing".to_owned();
        let next = route::after_failure(template, &scope, path);
        return Some(vec![fail(path, "lock_error", error, position.attempt, next)]);
    }
    if !state.has_lock(path, position) {
        return None;
    }
    match &step.kind {
        StepKind::AgentCall(_) | StepKind::Notification(_) => None,
        StepKind::Terminal => {
            let next = route::to(template, &scope, path, None);
            let body = CompleteStep { next, ..CompleteStep::default() };
            Some(vec![NewEvent::of(path, EventBody::CompleteStep(body))])
        }
        StepKind::Conditional(branch) => {
            let check = scope.with(|roots| branch.condition.check(roots));
            let target = if check.holds { &branch.on_true } else { &branch.on_false };
            let next = route::to(template, &scope, path, Some(target));
            let body = CompleteStep {
                result: wrap("result", Value::Bool(check.holds)),
                decision: Some(check.holds.to_string()),
                decided_by: Some("condition".to_owned()),
                failure_reason: diversion(template, &next, || {
                    format!("the condition '{}' is {}", branch.condition.source(), check.holds)
                }),
                next,
                problems: check.reason.into_iter().chain(check.warning).collect(),
                ..CompleteStep::default()
            };
            Some(vec![NewEvent::of(path, EventBody::CompleteStep(body))])
        }
        StepKind::Approval(approval) => {
            let assessment = known_risk(template, state, path, approval)?;
            Some(ask_or_pass(template, state, path, approval, assessment))
        }
        StepKind::Wait(own) => Some(vec![wait::begin(template, state, path, own, position, now)]),
        StepKind::Fan(own) => Some(vec![fan::open(template, state, path, own, position)]),
        StepKind::Workflow(call) => Some(vec![child::begin(state, path, call, position)]),
    }
}

fn over_budget(
    template: &Template,
    state: &State,
    path: &str,
    position: &Position,
) -> Option<NewEvent> {
    if position.attempt > 1 {
        return None;
    }
    let (where_it_is, entered) = match state.branch(path) {
        Some(branch) => ("the branch", branch.steps_entered),
        None => ("the run", state.steps_entered),
    };
    let too_many = if entered > MAX_STEPS_PER_RUN {
        Some(format!("{where_it_is} entered more than {MAX_STEPS_PER_RUN} steps"))
    } else if branch_of(path).is_some() && state.inner_steps_entered > MAX_INNER_STEPS_PER_RUN {
        Some(format!("the branches of the run entered more than {MAX_INNER_STEPS_PER_RUN} steps"))
    } else {
        None
    };
    if let Some(error) = too_many {
        let next = route::plain_failure(template, path);
        return Some(fail(path, "loop_limit", error, position.attempt, next));
    }
    let budget = template.loop_budget();
    let visit = state.steps.get(path).map_or(position.visit, StepRecord::visits_now);
    if visit <= budget.saturating_add(1) {
        return None;
    }
    let error = format!("step '{path}' was revisited more than {budget} times");
    let scope = RunScope::at(template, state, path);
    // The route of an ordinary failure, unless that is the loop itself.
    let next = match route::after_failure(template, &scope, path) {
        next if visit > budget.saturating_add(2) || next.next_step.as_deref() == Some(path) => {
            route::plain_failure(template, path)
        }
        next => next,
    };
    Some(fail(path, "loop_limit", error, position.attempt, next))
}

pub(crate) fn fail(
    step: &str,
    error_type: &str,
    error: String,
    attempt: u32,
    next: Next,
) -> NewEvent {
    let body = FailStep {
        error,
        error_type: error_type.to_owned(),
        retriable: false,
        attempt,
        is_final: true,
        next,
        ..FailStep::default()
    };
    NewEvent::of(step, EventBody::FailStep(body))
}

/// The risk of an approval, when no model has to be asked.
fn known_risk(
    template: &Template,
    state: &State,
    path: &str,
    approval: &Approval,
) -> Option<Map<String, Value>> {
    match &approval.risk {
        None => Some(Map::new()),
        Some(Risk::Override { risk_level, approver_role }) => {
            let mut assessment = Map::new();
            if let Some(level) = risk_level {
                assessment.insert("risk_level".to_owned(), json!(level));
            }
            if let Some(role) = approver_role {
                assessment.insert("approver_role".to_owned(), json!(role));
            }
            Some(assessment)
        }
        Some(Risk::UsePrevious { step }) => {
            let previous = route::seen_from(template, path, step);
            let mut assessment = state.answers.get(&previous).cloned().unwrap_or_default();
            let by = state.decisions.get(&previous).and_then(|decision| decision.get("decided_by"));
            assessment.insert("decided_by".to_owned(), by.cloned().unwrap_or_default());
            Some(assessment)
        }
        Some(Risk::Llm { rules, .. }) => {
            let mut assessment = route::by_rules(rules, &RunScope::at(template, state, path)).0?;
            assessment.insert("decided_by".to_owned(), json!("rules"));
            Some(assessment)
        }
    }
}

/// Passes an approval that needs nobody, else pauses for the right person.
pub(crate) fn ask_or_pass(
    template: &Template,
    state: &State,
    path: &str,
    approval: &Approval,
    mut assessment: Map<String, Value>,
) -> Vec<NewEvent> {
    let word = |key: &str| match assessment.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.trim().to_lowercase().replace([' ', '-'], "_")),
        Some(other) => Some(other.to_string()),
    };
    let known = |level: &String| matches!(level.as_str(), "low" | "medium" | "high" | "critical");
    // What nobody could assess is high: a missing or unknown level never lowers the bar.
    let risk_level = word("risk_level").filter(known).unwrap_or_else(|| "high".to_owned());
    let named_role = word("approver_role").filter(|role| !matches!(role.as_str(), "" | "none"));
    if let Some(target) = &approval.on_auto_approved
        && risk_level == "low"
        && named_role.is_none()
        && approval.required_approvals == 1
    {
        return pass(template, state, path, target, assessment);
    }
    let role = named_role.filter(|role| ROLES.contains(&role.as_str())).unwrap_or_else(|| {
        let senior = matches!(risk_level.as_str(), "high" | "critical");
        if senior { "devops_engineer" } else { "tech_lead" }.to_owned()
    });
    assessment.entry("risk_level").or_insert_with(|| json!(risk_level));
    let scope = RunScope::at(template, state, path);
    let details = approval.details.as_ref().map(|details| scope.with(|r| details.render(r).value));
    vec![pause(
        state,
        path,
        PauseWorkflow {
            reason: "awaiting_approval".to_owned(),
            risk_level,
            approver_role: Some(role),
            risk_assessment: assessment,
            details: details.and_then(|value| value.as_object().cloned()).unwrap_or_default(),
            required: approval.required_approvals,
            ..PauseWorkflow::default()
        },
    )]
}

fn pass(
    template: &Template,
    state: &State,
    path: &str,
    target: &crate::template::Target,
    assessment: Map<String, Value>,
) -> Vec<NewEvent> {
    let approver = ApproveGate {
        approver: "system".to_owned(),
        approver_role: "auto".to_owned(),
        ..ApproveGate::default()
    };
    let mut result = assessment;
    result.insert("decision".to_owned(), json!("approved"));
    result.insert("approver".to_owned(), json!(approver.approver));
    result.insert("approver_role".to_owned(), json!(approver.approver_role));
    let body = CompleteStep {
        next: route::to(template, &RunScope::at(template, state, path), path, Some(target)),
        result,
        decision: Some("auto_approved".to_owned()),
        decided_by: Some("system".to_owned()),
        ..CompleteStep::default()
    };
    vec![
        NewEvent::of(path, EventBody::ApproveGate(approver)),
        NewEvent::of(path, EventBody::CompleteStep(body)),
    ]
}

/// Ids of approvals follow from the run, so that no replay and no second coordinator makes others.
fn pause(state: &State, step: &str, request: PauseWorkflow) -> NewEvent {
    let approval_id = format!("apr-{}-{}", state.workflow_id, state.approvals.len() + 1);
    NewEvent::of(step, EventBody::PauseWorkflow(PauseWorkflow { approval_id, ..request }))
}

/// The event that lets a run go on after a decision.
pub(crate) fn resume(
    step: &str,
    decision: &str,
    next: Next,
    result: Map<String, Value>,
) -> NewEvent {
    let body = ResumeWorkflow { decision: decision.to_owned(), next, result };
    NewEvent::of(step, EventBody::ResumeWorkflow(body))
}

/// Why a route leaves the good path, when it does.
pub(crate) fn diversion(
    template: &Template,
    next: &Next,
    reason: impl FnOnce() -> String,
) -> Option<String> {
    route::is_diversion(template, next).then(reason)
}

fn wrap(key: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(key.to_owned(), value)])
}
