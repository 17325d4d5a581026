//! What people who steer a run change in its state.

use sluice_proto::event::{
    CancelWorkflow, ExpireWorkflow, Next, RetryCommand, Status, StepStatus, SuspendWorkflow,
};
use sluice_proto::timestamp::Timestamp;

use super::{end, enter, fan, note_failure_of_run};
use crate::path::outermost;
use crate::state::{Cancellation, State, Suspension};

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
    // What branches held is held for what cleans up after them.
    for held in state.locks.values_mut() {
        held.step = outermost(&held.step).to_owned();
    }
    go_away(state, step, &cancel.next, at);
}

/// Nothing is under way any more, and nobody has to decide anything.
fn leave_everything(state: &mut State, approvals: &str) {
    for path in state.active.keys() {
        if let Some(record) = state.steps.get_mut(path) {
            record.status = StepStatus::Failed;
        }
    }
    state.active.clear();
    for record in state.fans.values_mut() {
        fan::stop(record);
    }
    state.ending = None;
    state.suspension = None;
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
    note_failure_of_run(state, step, &expire.error, &expire.reason);
    go_away(state, step, &expire.next, at);
}

/// Goes where the whole run goes, wherever `step` was: not even its branch decides about that.
fn go_away(state: &mut State, step: &str, next: &Next, at: Timestamp) {
    if !step.is_empty() {
        state.last_step = Some(step.to_owned());
    }
    let Some(target) = &next.next_step else { return };
    match next.outcome {
        Some(outcome) => end(state, step, target, outcome),
        None => enter(state, target, next.next_lock.clone(), Some(step), at),
    }
}

/// What is under way goes on, nothing new begins.
pub(super) fn suspend(state: &mut State, suspend: &SuspendWorkflow, at: Timestamp) {
    state.suspension = Some(Suspension {
        reason: suspend.reason.clone(),
        by: suspend.suspended_by.clone(),
        since: at,
        in_flight: suspend.in_flight.clone(),
    });
}

pub(super) fn go_on(state: &mut State) {
    state.suspension = None;
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
    (state.steps_entered, state.inner_steps_entered, state.branches_had) = (0, 0, 0);
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
