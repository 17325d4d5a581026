//! What children change in the state: of a run that has ended too, since they may outlive it.

use sluice_proto::event::{ChildWorkflowComplete, StartChildWorkflow, Status};
use sluice_proto::timestamp::Timestamp;

use crate::state::{Child, Phase, State};

pub(super) fn start(
    state: &mut State,
    step: Option<&str>,
    start: &StartChildWorkflow,
    at: Timestamp,
) {
    state.children.push(Child {
        workflow_id: start.child_workflow_id.clone(),
        step: step.map(str::to_owned),
        template_name: start.template_name.clone(),
        status: Status::Running,
        started_at: at,
        completed_at: None,
    });
    if let Some(position) = step.and_then(|step| state.active.get_mut(step)) {
        position.phase = Phase::Child { workflow_id: start.child_workflow_id.clone() };
    }
}

pub(super) fn complete(state: &mut State, end: &ChildWorkflowComplete, at: Timestamp) {
    let mut latest = state.children.iter_mut().rev();
    if let Some(child) = latest.find(|child| child.workflow_id == end.child_workflow_id) {
        (child.status, child.completed_at) = (end.status, Some(at));
    }
}
