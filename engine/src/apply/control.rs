//! What people who steer a run change in its state.

use sluice_proto::event::{
    CancelWorkflow, ExpireWorkflow, RetryCommand, Status, StepStatus, SuspendWorkflow,
};
use sluice_proto::timestamp::Timestamp;

use super::{enter, go, note_failure};
use crate::state::{Cancellation, Phase, Position, State, Suspension};

/// Nothing is under way any more; what the template does on a cancellation comes next, then the end.
pub(super) fn cancel(state: &mut State, step: &str, cancel: &CancelWorkflow, at: Timestamp) {
    leave_everything(state, "cancelled");
    // What is undone takes the time it takes.
    state.deadline_at = None;
    if state.failed_step.is_none() {
        state.error_message =
            Some(format!("cancelled by {}: {}", cancel.cancelled_by, cancel.reason));
        state.failure_reason = Some("cancelled".to_owned());
    }
    state.cancellation = Some(Cancellation {
        reason: cancel.reason.clone(),
        cancelled_by: cancel.cancelled_by.clone(),
        at,
        target: cancel.target.clone(),
    });
    if !step.is_empty() {
        state.last_step = Some(step.to_owned());
    }
    go(state, step, &cancel.next, at);
}

/// Nothing is under way any more, and nobody has to decide anything.
fn leave_everything(state: &mut State, approvals: &str) {
    for path in state.active.keys() {
        if let Some(record) = state.steps.get_mut(path) {
            record.status = StepStatus::Failed;
        }
    }
    state.active.clear();
    state.ending = None;
    state.suspension = None;
    state.status = Status::Running;
    for approval in &mut state.approvals {
        approval.announcement_attempt = None;
        if approval.status == "pending" {
            approvals.clone_into(&mut approval.status);
        }
    }
}

/// The run is over, whatever it was about.
pub(super) fn expire(state: &mut State, step: &str, expire: &ExpireWorkflow, at: Timestamp) {
    leave_everything(state, "expired");
    state.deadline_at = None;
    note_failure(state, step, &expire.error, &expire.reason);
    if !step.is_empty() {
        state.last_step = Some(step.to_owned());
    }
    go(state, step, &expire.next, at);
}

/// What is under way goes on, nothing new begins.
pub(super) fn suspend(state: &mut State, suspend: &SuspendWorkflow, at: Timestamp) {
    state.status = Status::Paused;
    state.suspension = Some(Suspension {
        reason: suspend.reason.clone(),
        by: suspend.suspended_by.clone(),
        since: at,
        in_flight: suspend.in_flight.clone(),
    });
}

pub(super) fn go_on(state: &mut State) {
    state.suspension = None;
    let waits = |position: &Position| matches!(position.phase, Phase::Waiting { .. });
    state.status = if state.active.values().any(waits) { Status::Paused } else { Status::Running };
}

/// Only a failed run goes on; every other end is final.
pub(super) fn retry(
    state: &mut State,
    step: &str,
    command: &RetryCommand,
    due_at: Timestamp,
    at: Timestamp,
) {
    if state.status != Status::Failed || !state.steps.contains_key(step) {
        return;
    }
    state.rewind_to(step);
    state.status = Status::Running;
    state.completed_at = None;
    (state.failed_step, state.error_message, state.failure_reason) = (None, None, None);
    state.rejection_reason = None;
    state.ending = None;
    state.last_failure = None;
    state.rolled_back_last = false;
    state.retried += 1;
    state.deadline_at = command.deadline_at;
    state.steps_entered = 0;
    for record in state.steps.values_mut() {
        record.visits_before = record.visits;
    }
    let mut from = None;
    if let Some(record) = state.steps.get_mut(step) {
        record.commanded_retries += 1;
        from.clone_from(&record.from);
    }
    enter(state, step, command.next_lock.clone(), from.as_deref(), at);
    if let Some(position) = state.active.get_mut(step) {
        position.due_at = Some(due_at);
        position.by_person = true;
    }
}

impl State {
    /// Forgets what `step` and the steps entered after it have left: they will run again. History keeps
    /// it.
    pub(crate) fn rewind_to(&mut self, step: &str) {
        let Some(since) = self.steps.get(step).map(|record| record.entered) else { return };
        for (id, record) in &mut self.steps {
            if record.entered < since {
                continue;
            }
            record.status = StepStatus::Pending;
            self.outputs.shift_remove(id);
            self.answers.shift_remove(id);
            self.decisions.shift_remove(id);
        }
    }
}
