//! Events of people who steer a run: cancelling it, trying again from a step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Next;

/// Data of `cancel_workflow`; `step_id` is the step that was under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CancelWorkflow {
    /// In their words.
    pub reason: String,
    /// Who.
    pub cancelled_by: String,
    /// Whose messages are sent once the run has ended.
    pub target: String,
    /// Where the run goes first: the template's `on_cancel`, else its end.
    #[serde(flatten)]
    pub next: Next,
}

/// What a person's retry adds to `retry_step`: the run had failed, and goes on from this step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetryCommand {
    /// Who.
    pub requested_by: String,
    /// Lock the step runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_lock: Option<String>,
}
