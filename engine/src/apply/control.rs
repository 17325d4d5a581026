//! What people who steer a run change in its state.

use sluice_proto::event::{CancelWorkflow, RetryCommand, Status, StepStatus};
use sluice_proto::timestamp::Timestamp;

use super::{enter, go};
use crate::state::{Cancellation, State};

/// Nothing is under way any more; what the template does on a cancellation comes next, then the end.
pub(super) fn cancel(state: &mut State, step: &str, cancel: &CancelWorkflow, at: Timestamp) {
    for path in state.active.keys() {
        if let Some(record) = state.steps.get_mut(path) {
            record.status = StepStatus::Failed;
        }
    }
    state.active.clear();
    state.ending = None;
    for approval in &mut state.approvals {
        approval.announcement_attempt = None;
        if approval.status == "pending" {
            "cancelled".clone_into(&mut approval.status);
        }
    }
    if state.failed_step.is_none() {
        state.error_message =
            Some(format!("cancelled by {}: {}", cancel.cancelled_by, cancel.reason));
        state.failure_reason = Some("cancelled".to_owned());
    }
    state.status = Status::Running;
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
