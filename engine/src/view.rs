//! What people and programs are shown of a run.

use indexmap::IndexMap;
use serde_json::{Value, json};
use sluice_proto::api::{
    ChildWorkflow, ExecuteResponse, PendingApproval, StateResponse, StatusResponse, Suspended,
};
use sluice_proto::event::StepStatus;
use sluice_proto::timestamp::Timestamp;

use crate::state::{Approval, Child, Phase, Position, State};
use crate::template::{Block, FanSource, StepKind, Template};

/// The step under way, the first in file order if there are several; the last executed one once the
/// run has ended. Never the name of a virtual target, and not a step of which only branches are under
/// way: the steps in them are.
#[must_use]
pub fn current_step(template: &Template, state: &State) -> Option<String> {
    let at_work = |(_, position): &(&str, &Position)| !matches!(position.phase, Phase::Branches);
    let first = positions_in_file_order(template, state).into_iter().find(at_work);
    first.map(|(path, _)| path.to_owned()).or_else(|| state.last_step.clone())
}

/// Every position, by the place of its step in the file; items in their own order.
pub(crate) fn positions_in_file_order<'a>(
    template: &Template,
    state: &'a State,
) -> Vec<(&'a str, &'a Position)> {
    let mut positions: Vec<(&str, &Position)> =
        state.active.iter().map(|(path, position)| (path.as_str(), position)).collect();
    if positions.len() > 1 {
        positions.sort_by_cached_key(|(path, _)| template.place(path));
    }
    positions
}

/// Every step of the template in file order, those of branches behind the step whose branches they are;
/// of a `for_each` those of each item, once it is known what the items are. Unvisited ones are `skipped`
/// once the run has ended.
#[must_use]
pub fn step_statuses(template: &Template, state: &State) -> IndexMap<String, StepStatus> {
    let mut statuses = IndexMap::new();
    add_statuses(state, &template.steps, "", &mut statuses);
    statuses
}

fn add_statuses(
    state: &State,
    block: &Block,
    branch: &str,
    statuses: &mut IndexMap<String, StepStatus>,
) {
    let unvisited =
        if state.status.is_terminal() { StepStatus::Skipped } else { StepStatus::Pending };
    for (id, step) in block {
        let path = if branch.is_empty() { id.clone() } else { format!("{branch}.{id}") };
        let status = match state.steps.get(&path).map(|record| record.status) {
            None | Some(StepStatus::Pending) => unvisited,
            Some(status) => status,
        };
        statuses.insert(path.clone(), status);
        let StepKind::Fan(fan) = &step.kind else { continue };
        match &fan.source {
            FanSource::Branches(branches) => {
                for (name, block) in branches {
                    add_statuses(state, block, &format!("{path}.{name}"), statuses);
                }
            }
            FanSource::Items { steps, .. } => {
                for index in 0..state.fans.get(&path).map_or(0, |record| record.total) {
                    add_statuses(state, steps, &format!("{path}.{index}"), statuses);
                }
            }
        }
    }
}

/// Answer to `workflow.execute`.
#[must_use]
pub fn execute_response(template: &Template, state: &State) -> ExecuteResponse {
    ExecuteResponse {
        workflow_id: state.workflow_id.clone(),
        status: state.status,
        current_step: current_step(template, state),
        started_at: state.started_at,
        completed_at: state.completed_at,
        step_statuses: step_statuses(template, state),
        outputs: state.outputs.clone(),
    }
}

/// Answer to `workflow.status`.
#[must_use]
pub fn status_response(template: &Template, state: &State) -> StatusResponse {
    let queued = state.active.iter().find(|(path, position)| {
        matches!(position.phase, Phase::Queued { .. }) && !state.has_lock(path, position)
    });
    StatusResponse {
        run: execute_response(template, state),
        template_name: state.template_name.clone(),
        error_message: state.error_message.clone(),
        failed_step: state.failed_step.clone(),
        failure_reason: state.failure_reason.clone(),
        rejection_reason: state.rejection_reason.clone(),
        suspended: state.suspension.as_ref().map(|suspension| Suspended {
            reason: suspension.reason.clone(),
            paused_by: suspension.by.clone(),
            since: suspension.since,
        }),
        deadline_at: state.deadline_at,
        cancellation_reason: state.cancellation.as_ref().map(|c| c.reason.clone()),
        cancelled_by: state.cancellation.as_ref().map(|c| c.cancelled_by.clone()),
        cancelled_at: state.cancellation.as_ref().map(|c| c.at),
        pending_approval: pending_approval(template, state),
        waiting_for_lock: queued.and_then(|(_, position)| position.lock.clone()),
        waiting_until: waiting_until(state),
        locks: state.locks.keys().cloned().collect(),
        parent_workflow_id: state.parent_workflow_id.clone(),
        child_workflows: state.children.iter().map(child_row).collect(),
        updated_at: state.updated_at,
    }
}

/// Answer to `workflow.state`.
#[must_use]
pub fn state_response(template: &Template, state: &State) -> StateResponse {
    StateResponse {
        status: status_response(template, state),
        context: state.context.as_object().cloned().unwrap_or_default(),
        decisions: state.decisions.clone(),
        approvals: state.approvals.iter().map(approval_row).collect(),
        event_count: state.sequence,
        template_sha256: state.template_sha256.clone(),
        step_agents: step_agents(template),
    }
}

fn step_agents(template: &Template) -> IndexMap<String, String> {
    let agents = template.steps.iter().filter_map(|(id, step)| match &step.kind {
        StepKind::AgentCall(call) => Some((id.clone(), call.agent.to_string())),
        _ => None,
    });
    agents.collect()
}

fn waiting_until(state: &State) -> Option<Timestamp> {
    let moment = |position: &Position| match position.phase {
        Phase::Timer { until } => Some(until),
        _ => None,
    };
    state.active.values().filter_map(moment).min()
}

/// What the run waits for a person for; the first in file order if there are several.
#[must_use]
pub fn pending_approval(template: &Template, state: &State) -> Option<PendingApproval> {
    let positions = positions_in_file_order(template, state);
    let approval = positions.iter().find_map(|(_, position)| match &position.phase {
        Phase::Waiting { approval_id } => state.approval(approval_id),
        _ => None,
    })?;
    let request = &approval.request;
    let reasoning = request.risk_assessment.get("reasoning").and_then(Value::as_str);
    Some(PendingApproval {
        approval_id: request.approval_id.clone(),
        step_id: approval.step.clone(),
        risk_level: request.risk_level.clone(),
        approver_role: request.approver_role.clone(),
        reasoning: reasoning.map(str::to_owned),
        details: request.details.clone(),
        required: request.required,
        received: u32::try_from(approval.approvers.len()).unwrap_or(u32::MAX),
        approvers: approval.approvers.clone(),
        issue: request.approval_issue_id.as_ref().map(|id| json!({"id": id})),
        created_at: approval.created_at,
        expires_at: None,
    })
}

fn child_row(child: &Child) -> ChildWorkflow {
    ChildWorkflow {
        child_workflow_id: child.workflow_id.clone(),
        parent_step_id: child.step.clone(),
        template_name: child.template_name.clone(),
        status: child.status,
        started_at: child.started_at,
        completed_at: child.completed_at,
    }
}

fn approval_row(approval: &Approval) -> Value {
    json!({
        "approval_id": approval.request.approval_id,
        "step_id": approval.step,
        "status": approval.status,
        "risk_level": approval.request.risk_level,
        "approver_role": approval.request.approver_role,
        "required": approval.request.required,
        "approvers": approval.approvers,
        "created_at": approval.created_at,
    })
}
