//! Runs that a run has started.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Status;
use crate::ids::WorkflowId;
use crate::timestamp::Timestamp;

/// A child of a run, as its parent knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChildWorkflow {
    /// The child.
    pub child_workflow_id: WorkflowId,
    /// Step that started it; none for one that was started through the API.
    pub parent_step_id: Option<String>,
    /// File name of its template.
    pub template_name: String,
    /// `running` until it has ended, whatever it waits for: its own status says more.
    pub status: Status,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}
