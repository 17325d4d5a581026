//! Runs that a run has started.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Status;
use crate::ids::WorkflowId;

/// Data of `start_child_workflow`; `step_id` is the step that waits for the child, none for one that was
/// started through the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartChildWorkflow {
    /// The child.
    pub child_workflow_id: WorkflowId,
    /// File name of its template.
    pub template_name: String,
}

/// Data of `child_workflow_complete`; `step_id` as at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChildWorkflowComplete {
    /// The child.
    pub child_workflow_id: WorkflowId,
    /// How it ended.
    pub status: Status,
    /// What went wrong in it, or why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
