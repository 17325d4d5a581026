//! Bodies of the verbs with which people steer a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Status;
use crate::ids::WorkflowId;
use crate::timestamp::Timestamp;

fn requested() -> String {
    "User requested cancellation".to_owned()
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn three() -> u32 {
    3
}

/// Body of `workflow.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelRequest {
    /// The run; over REST it is in the path.
    #[serde(default)]
    pub workflow_id: String,
    /// Why.
    #[serde(default = "requested")]
    pub reason: String,
    /// Who.
    #[serde(default = "unknown")]
    pub cancelled_by: String,
    /// Ends the run at once, without what its template does on a cancellation, also while that is done.
    #[serde(default)]
    pub force: bool,
    /// Makes repeated requests one, for seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Answer to `workflow.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelResponse {
    /// The run.
    pub workflow_id: WorkflowId,
    /// `cancelled`; while the template's `on_cancel` is carried out, what it is until then.
    pub status: Status,
    /// Why.
    pub reason: String,
    /// Who.
    pub cancelled_by: String,
    /// Step that undoes what the run did, before it is `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_cancel: Option<String>,
    /// What was done.
    pub cleanup: CancelCleanup,
}

/// What a cancellation has cleaned up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelCleanup {
    /// Locks given to whoever waits for them.
    pub locks_released: u32,
    /// Issues closed that asked for an approval.
    pub linear_issues_closed: u32,
    /// Agents that were at work, or about to be, and were told to stop.
    pub agents_notified: u32,
    /// Runs cancelled that this one had started.
    pub child_workflows_cancelled: u32,
    /// Approvals that nobody has to decide any more.
    pub approvals_cancelled: u32,
    /// What could not be done; the run is cancelled all the same.
    pub errors: Vec<String>,
}

/// Body of `workflow.retry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetryRequest {
    /// The run; over REST it is in the path.
    #[serde(default)]
    pub workflow_id: String,
    /// Step to go on from; over REST it is in the path.
    #[serde(default)]
    pub step_id: String,
    /// How often this step may be retried so; the server has a limit of its own.
    #[serde(default = "three")]
    pub max_retries: u32,
    /// Who.
    #[serde(default = "unknown")]
    pub requested_by: String,
    /// Makes repeated requests one, for seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Answer to `workflow.retry`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetryResponse {
    /// The run.
    pub workflow_id: WorkflowId,
    /// Step it goes on from.
    pub step_id: String,
    /// Which retry of this step it is, from 1.
    pub retry_attempt: u32,
    /// Retries allowed, by the caller and by the server.
    pub max_retries: u32,
    /// Nominal delay, seconds.
    pub backoff_delay: f64,
    /// Real start, with jitter.
    pub next_retry_at: Timestamp,
    /// `retrying`.
    pub status: String,
    /// For people.
    pub message: String,
}

/// Body of `workflow.pause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PauseRequest {
    /// The run; over REST it is in the path.
    #[serde(default)]
    pub workflow_id: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Who.
    #[serde(default = "unknown")]
    pub paused_by: String,
    /// Makes repeated requests one, for seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Body of `workflow.unpause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnpauseRequest {
    /// The run; over REST it is in the path.
    #[serde(default)]
    pub workflow_id: String,
    /// Who.
    #[serde(default = "unknown")]
    pub unpaused_by: String,
    /// Makes repeated requests one, for seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An operator holds the run up: no approval lets it go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suspended {
    /// Why.
    pub reason: String,
    /// Who.
    pub paused_by: String,
    /// Since when.
    pub since: Timestamp,
}
