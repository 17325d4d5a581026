//! `apply`: the only place where state changes. Total and infallible: crash recovery, replay and
//! time travel are folds of it, so whatever was once recorded must go through.

mod child;
mod control;
mod fan;

use serde_json::{Value, json};
use sluice_proto::event::{
    CompleteStep, CompleteWorkflow, Escalate, EventBody, FailStep, Next, Notify, Outcome,
    PauseWorkflow, RejectGate, ResumeWorkflow, RetryStep, StartWorkflow, Status, StepStatus,
};
use sluice_proto::timestamp::Timestamp;

use crate::path::{Job, Work, branch_of};
use crate::state::{
    Approval, BranchFailure, Delivery, Ending, Failure, HeldLock, Phase, Position, State,
    StepRecord,
};

/// Folds one event into the state. `step` is the event's `step_id`.
///
/// After a terminal status nothing can revive the run: only deliveries and findings still change.
pub fn apply(state: &mut State, step: Option<&str>, body: &EventBody, at: Timestamp) {
    state.sequence += 1;
    state.updated_at = at;
    match body {
        EventBody::Notify(notify) => return deliver(state, step, notify),
        EventBody::RetryStep(RetryStep { command: Some(command), next_retry_at, .. }) => {
            return control::retry(state, step.unwrap_or_default(), command, *next_retry_at, at);
        }
        EventBody::RetryStep(retry) => return retry_step(state, step.unwrap_or_default(), retry),
        EventBody::CaptureInsight(insight) => return state.insights.push(insight.clone()),
        EventBody::StartChildWorkflow(start) => return child::start(state, step, start, at),
        EventBody::ChildWorkflowComplete(end) => return child::complete(state, end, at),
        _ if state.status.is_terminal() => return,
        _ => {}
    }
    let step = step.unwrap_or_default();
    match body {
        EventBody::StartWorkflow(start) => start_workflow(state, step, start, at),
        EventBody::RecordOutput(output) => {
            if let Some(position) = state.active.get_mut(step) {
                position.phase = Phase::Gate {
                    result: output.result.clone(),
                    agent_attempt: output.attempt,
                    duration_ms: output.duration_ms,
                    usage: output.usage.clone(),
                };
                position.attempt = 1;
                position.due_at = None;
            }
        }
        EventBody::CompleteStep(complete) => complete_step(state, step, complete, at),
        EventBody::FailStep(fail) => fail_step(state, step, fail, at),
        EventBody::PauseWorkflow(pause) => pause_workflow(state, step, pause, at),
        EventBody::ApproveGate(approve) => {
            if let Some(approval) = open_approval(state, step) {
                approval.approvers.push(approve.approver.clone());
            }
        }
        EventBody::RejectGate(reject) => reject_gate(state, step, reject),
        EventBody::ResumeWorkflow(resume) => resume_workflow(state, step, resume, at),
        EventBody::RollbackStep(rollback) => {
            if rollback.compensated.is_none() {
                state.rollbacks.push(step.to_owned());
            }
            if let Some(Value::Object(output)) = state.outputs.get_mut(step) {
                output.insert("rolled_back".to_owned(), Value::Bool(true));
            }
            if let Some(next) = &rollback.compensated {
                state.active.remove(step);
                go(state, step, next, at);
            }
        }
        EventBody::Escalate(escalate) => escalate_failure(state, escalate),
        EventBody::WaitLock(_) => {
            if let Some(position) = state.active.get_mut(step) {
                position.phase = Phase::Queued { since: at };
            }
        }
        EventBody::AcquireLock(lock) => {
            if let Some(position) = state.active.get_mut(step) {
                position.phase = Phase::Ready;
            }
            let held =
                HeldLock { step: step.to_owned(), since: at, fencing_number: lock.fencing_number };
            state.locks.insert(lock.resource_lock.clone(), held);
        }
        EventBody::ReleaseLock(lock) => {
            state.locks.remove(&lock.resource_lock);
        }
        EventBody::SuspendWorkflow(suspend) => control::suspend(state, suspend, at),
        EventBody::ContinueWorkflow(_) => control::go_on(state),
        EventBody::ExpireWorkflow(expire) => control::expire(state, step, expire, at),
        EventBody::CancelWorkflow(cancel) => control::cancel(state, step, cancel, at),
        EventBody::CompleteWorkflow(complete) => complete_workflow(state, complete, at),
        EventBody::StartTimer(timer) => {
            if let Some(position) = state.active.get_mut(step) {
                position.phase = Phase::Timer { until: timer.until };
            }
        }
        EventBody::StartBranches(start) => fan::start_branches(state, step, start, at),
        EventBody::Annotate(_) | EventBody::CreateSnapshot(_) => {}
        EventBody::Notify(_)
        | EventBody::RetryStep(_)
        | EventBody::CaptureInsight(_)
        | EventBody::StartChildWorkflow(_)
        | EventBody::ChildWorkflowComplete(_) => {}
    }
    settle_status(state);
}

/// A run is paused when only people can move it, be it that they have to decide or that they hold it up:
/// while anything else is under way, it is running.
fn settle_status(state: &mut State) {
    if !matches!(state.status, Status::Running | Status::Paused) {
        return;
    }
    // A decision counts also while an operator holds the run up; it follows from it later.
    if state.suspension.is_some() {
        state.status = Status::Paused;
        return;
    }
    let with_branches = |position: &&Position| matches!(position.phase, Phase::Branches);
    let mut at_work = state.active.values().filter(|position| !with_branches(position)).peekable();
    let some = at_work.peek().is_some();
    let paused = some && at_work.all(|position| matches!(position.phase, Phase::Waiting { .. }));
    state.status = if paused { Status::Paused } else { Status::Running };
}

fn start_workflow(state: &mut State, step: &str, start: &StartWorkflow, at: Timestamp) {
    state.status = Status::Running;
    state.template_name.clone_from(&start.template_name);
    state.template_version.clone_from(&start.template_version);
    state.template_sha256.clone_from(&start.template_sha256);
    state.participating_agents.clone_from(&start.participating_agents);
    state.context = Value::Object(start.context.clone());
    state.started_at = at;
    state.deadline_at = start.deadline_at;
    enter(state, step, start.next_lock.clone(), None, at);
}

fn complete_step(state: &mut State, step: &str, complete: &CompleteStep, at: Timestamp) {
    state.active.remove(step);
    fan::stop_branches(state, step);
    state.outputs.insert(step.to_owned(), Value::Object(complete.result.clone()));
    if let Some(answer) = &complete.answer {
        state.answers.insert(step.to_owned(), answer.clone());
    }
    if let Some(decision) = &complete.decision {
        let by = complete.decided_by.as_deref().unwrap_or("system");
        state.decisions.insert(step.to_owned(), json!({"decision": decision, "decided_by": by}));
    }
    if let Some(reason) = &complete.failure_reason {
        note_failure(state, step, reason, complete.decision.as_deref().unwrap_or("diverted"));
    }
    settle(state, step, StepStatus::Completed);
    state.rolled_back_last = complete.rolled_back;
    go(state, step, &complete.next, at);
}

fn fail_step(state: &mut State, step: &str, fail: &FailStep, at: Timestamp) {
    if !fail.is_final {
        return diagnose(state, step, fail);
    }
    if let Work::Step { step, job: Job::Undo } = Work::parse(step) {
        return undoing_failed(state, step, fail, at);
    }
    fan::stop_branches(state, step);
    let mut output = fail.result.clone();
    output.insert("status".to_owned(), json!("error"));
    output.insert("error".to_owned(), json!(fail.error));
    output.insert("error_type".to_owned(), json!(fail.error_type));
    state.outputs.insert(step.to_owned(), Value::Object(output));
    note_failure(state, step, &fail.error, &fail.error_type);
    let (error, error_type) = (fail.error.clone(), fail.error_type.clone());
    state.last_failure = Some(Failure { step: step.to_owned(), error, error_type });
    settle(state, step, StepStatus::Failed);
    state.rolled_back_last = false;
    match state.active.get_mut(step).filter(|_| fail.compensates) {
        Some(position) => {
            position.phase = Phase::Compensating { next: fail.next.clone() };
            (position.attempt, position.due_at) = (1, None);
        }
        None => {
            state.active.remove(step);
            go(state, step, &fail.next, at);
        }
    }
}

/// A failure that is not final yet leaves the position as it is, or has another agent look at it first.
fn diagnose(state: &mut State, step: &str, fail: &FailStep) {
    let Some((by, position)) = fail.diagnosed_by.clone().zip(state.active.get_mut(step)) else {
        return;
    };
    let (error, error_type) = (fail.error.clone(), fail.error_type.clone());
    position.phase = Phase::Diagnosing { by, error, error_type };
    position.due_at = None;
}

/// Recorded, and no reason to go anywhere else.
fn undoing_failed(state: &mut State, step: &str, fail: &FailStep, at: Timestamp) {
    if let Some(Value::Object(output)) = state.outputs.get_mut(step) {
        output.insert("rollback_error".to_owned(), json!(fail.error));
    }
    state.active.remove(step);
    go(state, step, &fail.next, at);
}

fn escalate_failure(state: &mut State, escalate: &Escalate) {
    let id = &escalate.notification_id;
    state.escalation = Some(id.clone());
    let request = Notify {
        notification_id: id.clone(),
        trigger: "escalation".to_owned(),
        channels: escalate.channels.clone(),
        template: Some("workflow_error".to_owned()),
        status: "requested".to_owned(),
        payload: Some(escalate.payload.clone()),
        error: None,
    };
    let delivery = Delivery { request, attempt: Some(1), due_at: None };
    state.notifications.insert(id.clone(), delivery);
}

fn retry_step(state: &mut State, path: &str, retry: &RetryStep) {
    let due_at = Some(retry.next_retry_at);
    let next = retry.retry_attempt + 1;
    match Work::parse(path) {
        Work::Notification(id) => {
            if let Some(delivery) = state.notifications.get_mut(id) {
                (delivery.attempt, delivery.due_at) = (Some(next), due_at);
            }
        }
        Work::Step { step, job: Job::Announcement } => {
            if let Some(approval) = open_approval(state, step) {
                (approval.announcement_attempt, approval.announcement_due_at) =
                    (Some(next), due_at);
            }
        }
        Work::Step { step, .. } => {
            if let Some(position) = state.active.get_mut(step) {
                // A position in a queue keeps its place; the next wait is counted from `due_at`.
                (position.attempt, position.due_at) = (next, due_at);
                position.recovery.clone_from(&retry.recovery);
                if matches!(position.phase, Phase::Diagnosing { .. }) {
                    position.phase = Phase::Ready;
                }
            }
            if let Some(record) = state.steps.get_mut(step) {
                record.retries += 1;
            }
        }
    }
}

fn pause_workflow(state: &mut State, step: &str, pause: &PauseWorkflow, at: Timestamp) {
    // A pause that a virtual target asked for puts the run back on the step it came from.
    state.ending = None;
    let record = state.steps.entry(step.to_owned()).or_insert_with(StepRecord::untouched);
    let visit = record.visits.max(1);
    let phase = Phase::Waiting { approval_id: pause.approval_id.clone() };
    match state.active.get_mut(step) {
        Some(position) => position.phase = phase,
        None => {
            let position = Position {
                visit,
                attempt: 1,
                from: None,
                entered_at: at,
                lock: None,
                due_at: None,
                by_person: false,
                recovery: None,
                phase,
            };
            state.active.insert(step.to_owned(), position);
        }
    }
    state.approvals.push(Approval {
        step: step.to_owned(),
        visit,
        request: pause.clone(),
        approvers: Vec::new(),
        status: "pending".to_owned(),
        created_at: at,
        announcement_attempt: Some(1),
        announcement_due_at: None,
    });
}

fn reject_gate(state: &mut State, step: &str, reject: &RejectGate) {
    if let Some(approval) = open_approval(state, step) {
        "rejected".clone_into(&mut approval.status);
    }
    state.rejection_reason = Some(reject.reason.clone());
    let message = if reject.reason.is_empty() {
        format!("rejected by {}", reject.rejector)
    } else {
        format!("rejected by {}: {}", reject.rejector, reject.reason)
    };
    note_failure(state, step, &message, "rejected");
}

fn resume_workflow(state: &mut State, step: &str, resume: &ResumeWorkflow, at: Timestamp) {
    if let Some(approval) = open_approval(state, step) {
        approval.status.clone_from(&resume.decision);
    }
    if let Some(last) = state.approvals.iter_mut().rev().find(|approval| approval.step == step) {
        last.announcement_attempt = None;
    }
    state.active.remove(step);
    if !resume.result.is_empty() {
        state.outputs.insert(step.to_owned(), Value::Object(resume.result.clone()));
    }
    state.rolled_back_last = false;
    let approved = resume.decision == "approved";
    settle(state, step, if approved { StepStatus::Completed } else { StepStatus::Failed });
    go(state, step, &resume.next, at);
}

fn deliver(state: &mut State, path: Option<&str>, notify: &Notify) {
    if let Work::Step { step, job: Job::Announcement } = Work::parse(path.unwrap_or_default()) {
        let found = state.approvals.iter_mut().rev().find(|approval| approval.step == step);
        if let Some(approval) = found {
            approval.announcement_attempt = None;
        }
        return;
    }
    if notify.status == "requested" {
        let delivery = Delivery { request: notify.clone(), attempt: Some(1), due_at: None };
        state.notifications.insert(notify.notification_id.clone(), delivery);
    } else if let Some(delivery) = state.notifications.get_mut(&notify.notification_id) {
        delivery.attempt = None;
        delivery.request.status.clone_from(&notify.status);
    }
}

fn complete_workflow(state: &mut State, complete: &CompleteWorkflow, at: Timestamp) {
    state.status = complete.status;
    state.completed_at = Some(at);
    state.ending = None;
    state.active.clear();
    if complete.status == Status::Completed {
        state.failed_step = None;
        state.error_message = None;
        state.failure_reason = None;
    } else if let Some(reason) = &complete.failure_reason {
        state.failure_reason.get_or_insert_with(|| reason.clone());
    }
}

fn go(state: &mut State, from: &str, next: &Next, at: Timestamp) {
    let Some(target) = &next.next_step else { return };
    match next.outcome {
        Some(outcome) if branch_of(from).is_some() => fan::end_branch(state, from, outcome),
        Some(outcome) => end(state, from, target, outcome),
        None => enter(state, target, next.next_lock.clone(), Some(from), at),
    }
}

/// A cancelled run ends as such, wherever the steps that clean up after it lead.
fn end(state: &mut State, from: &str, target: &str, outcome: Outcome) {
    let (target, outcome) = match &state.cancellation {
        Some(cancellation) => (cancellation.target.clone(), Outcome::Cancelled),
        None => (target.to_owned(), outcome),
    };
    state.ending = Some(Ending { target, outcome, from: from.to_owned() });
}

fn enter(state: &mut State, step: &str, lock: Option<String>, from: Option<&str>, at: Timestamp) {
    let record = state.steps.entry(step.to_owned()).or_insert_with(StepRecord::untouched);
    record.visits += 1;
    record.entered = state.sequence;
    record.status = StepStatus::Running;
    record.from = from.map(str::to_owned);
    let position = Position {
        visit: record.visits,
        attempt: 1,
        from: from.map(str::to_owned),
        entered_at: at,
        lock,
        due_at: None,
        by_person: false,
        recovery: None,
        phase: Phase::Ready,
    };
    match branch_of(step) {
        None => state.steps_entered += 1,
        Some(_) => {
            state.inner_steps_entered += 1;
            if let Some(branch) = state.branch_mut(step) {
                branch.steps_entered += 1;
            }
        }
    }
    state.active.insert(step.to_owned(), position);
}

fn settle(state: &mut State, step: &str, status: StepStatus) {
    state.last_step = Some(step.to_owned());
    state.steps.entry(step.to_owned()).or_insert_with(StepRecord::untouched).status = status;
}

/// Keeps the first failure: what follows it is handling, not cause. What went wrong in a branch is the
/// branch's, until the step around it makes something of it.
fn note_failure(state: &mut State, step: &str, message: &str, reason: &str) {
    if branch_of(step).is_some() {
        let failure = || BranchFailure {
            step: step.to_owned(),
            error: message.to_owned(),
            error_type: reason.to_owned(),
        };
        if let Some(branch) = state.branch_mut(step) {
            branch.failure.get_or_insert_with(failure);
        }
        return;
    }
    note_failure_of_run(state, step, message, reason);
}

fn note_failure_of_run(state: &mut State, step: &str, message: &str, reason: &str) {
    if state.failed_step.is_none() {
        state.failed_step = Some(step.to_owned());
        state.error_message = Some(message.to_owned());
        state.failure_reason = Some(reason.to_owned());
    }
}

fn open_approval<'a>(state: &'a mut State, step: &str) -> Option<&'a mut Approval> {
    let is_open = |approval: &&mut Approval| approval.step == step && approval.status == "pending";
    state.approvals.iter_mut().rev().find(is_open)
}

impl StepRecord {
    fn untouched() -> Self {
        Self {
            status: StepStatus::Running,
            visits: 0,
            retries: 0,
            from: None,
            entered: 0,
            visits_before: 0,
            commanded_retries: 0,
        }
    }
}
