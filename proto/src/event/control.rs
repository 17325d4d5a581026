//! Events of people who steer a run: cancelling it, trying again from a step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Next;
use crate::timestamp::Timestamp;

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
    /// When the run is over, whatever it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Timestamp>,
}

/// Data of `suspend_workflow`: what is under way is still recorded, nothing new begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuspendWorkflow {
    /// In their words.
    pub reason: String,
    /// Who.
    pub suspended_by: String,
    /// What was under way: attempts as `path:visit:attempt`, places in queues as `lock <name> for <step>`.
    pub in_flight: Vec<String>,
}

/// Data of `continue_workflow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContinueWorkflow {
    /// Who.
    pub continued_by: String,
}

/// Data of `expire_workflow`; `step_id` is the step that was under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpireWorkflow {
    /// `deadline_exceeded`, or `expired` for a run that nothing happened to any more.
    pub reason: String,
    /// For people.
    pub error: String,
    /// Where the run ends.
    #[serde(flatten)]
    pub next: Next,
}
