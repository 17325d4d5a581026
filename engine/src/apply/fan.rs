//! What branches change in the state.

use sluice_proto::event::{Outcome, StartBranches, StepStatus};
use sluice_proto::timestamp::Timestamp;

use super::enter;
use crate::path::is_within;
use crate::state::{Branch, BranchStatus, FanRecord, Phase, State};

pub(super) fn start_branches(state: &mut State, fan: &str, start: &StartBranches, at: Timestamp) {
    if let Some(total) = start.total {
        forget(state, fan);
        let record = FanRecord { total, items: start.items.clone(), ..FanRecord::default() };
        state.fans.insert(fan.to_owned(), record);
        state.branches_had = state.branches_had.saturating_add(total);
        if let Some(position) = state.active.get_mut(fan) {
            position.phase = Phase::Branches;
        }
    }
    for branch in &start.branches {
        let Some(record) = state.fans.get_mut(fan) else { return };
        record.branches.insert(branch.branch.clone(), Branch::default());
        if let Some(first) = &branch.next.next_step {
            enter(state, first, branch.next.next_lock.clone(), Some(fan), at);
        }
    }
}

/// Forgets what the branches of an earlier visit have left: the record keeps it, but no step of this
/// visit may take it for its own. Visits are counted on, since they name attempts.
fn forget(state: &mut State, fan: &str) {
    if !state.fans.contains_key(fan) {
        return;
    }
    state.outputs.retain(|path, _| !is_within(path, fan));
    state.answers.retain(|path, _| !is_within(path, fan));
    state.decisions.retain(|path, _| !is_within(path, fan));
    state.fans.retain(|path, _| !is_within(path, fan));
    for (_, record) in state.steps.iter_mut().filter(|(path, _)| is_within(path, fan)) {
        record.visits_before = record.visits;
        record.status = StepStatus::Pending;
        record.from = None;
    }
}

pub(super) fn end_branch(state: &mut State, last_step: &str, outcome: Outcome) {
    let Some(branch) = state.branch_mut(last_step) else { return };
    branch.status = match outcome {
        Outcome::Completed => BranchStatus::Succeeded,
        _ => BranchStatus::Failed,
    };
    branch.last_step = Some(last_step.to_owned());
}

/// What becomes of `fan` is decided: whatever is still under way in its branches is not any more.
pub(super) fn stop_branches(state: &mut State, fan: &str) {
    if !state.fans.contains_key(fan) {
        return;
    }
    let inner = |path: &str| is_within(path, fan);
    let under_way: Vec<String> = state.active.keys().filter(|path| inner(path)).cloned().collect();
    for path in under_way {
        state.active.remove(&path);
        if let Some(record) = state.steps.get_mut(&path) {
            record.status = StepStatus::Skipped;
        }
    }
    for approval in state.approvals.iter_mut().filter(|approval| inner(&approval.step)) {
        approval.announcement_attempt = None;
        if approval.status == "pending" {
            "cancelled".clone_into(&mut approval.status);
        }
    }
    for (_, record) in state.fans.iter_mut().filter(|(path, _)| *path == fan || inner(path)) {
        stop(record);
    }
}

/// No branch of it is under way any more.
pub(super) fn stop(record: &mut FanRecord) {
    record.items = None;
    let running = |branch: &&mut Branch| branch.status == BranchStatus::Running;
    for branch in record.branches.values_mut().filter(running) {
        branch.status = BranchStatus::Stopped;
    }
}
