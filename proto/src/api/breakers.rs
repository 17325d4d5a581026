//! Circuit breakers, as people see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::WorkflowId;
use crate::timestamp::Timestamp;

/// Answer to `breaker.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakersResponse {
    /// Open ones first, then by template and step. A step that works has none.
    pub breakers: Vec<BreakerView>,
}

/// The circuit breaker of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerView {
    /// Template file name.
    pub template_name: String,
    /// The step.
    pub step_id: String,
    /// `closed`, `open`, or `half_open` once it lets a trial through.
    pub state: String,
    /// Executions in a row that failed for good.
    pub failures: u32,
    /// How many open it, as the template says today.
    pub failure_threshold: Option<u32>,
    /// Trials that worked since it opened; two close it.
    pub successes: u32,
    /// When it opened.
    pub opened_at: Option<Timestamp>,
    /// When the step is tried again.
    pub retry_at: Option<Timestamp>,
    /// Run that tries it.
    pub trial_workflow_id: Option<WorkflowId>,
    /// When it changed last.
    pub updated_at: Timestamp,
}
