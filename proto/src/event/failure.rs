//! Events around steps that failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Data of `escalate`; `step_id` is the step that failed. At most one a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Escalate {
    /// Issue people see it in, once there is one.
    pub issue: Option<String>,
    /// `urgent`, `critical` or `normal`.
    pub priority: String,
    /// Why: `any_failure`, `exhausted`, `circuit_open`, `rollback_failed` or `tier_4`.
    pub reason: String,
    /// What went wrong.
    pub error: String,
    /// Stable word for it.
    pub error_type: String,
    /// Who is told, in this order: agents, or `hitl` for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalation_path: Vec<String>,
    /// Where it is told.
    pub channels: Vec<String>,
    /// Names the delivery within the run.
    pub notification_id: String,
    /// The command's payload.
    pub payload: Map<String, Value>,
}
