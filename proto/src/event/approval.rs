//! Waiting for a person, and what they decided.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Next;

/// Data of `pause_workflow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PauseWorkflow {
    /// `awaiting_approval` or `changes_requested`.
    pub reason: String,
    /// Id of the approval that ends the pause.
    pub approval_id: String,
    /// Issue people see it in, once there is one.
    pub approval_issue_id: Option<String>,
    /// `low`, `medium`, `high` or `critical`.
    pub risk_level: String,
    /// Who must decide.
    pub approver_role: Option<String>,
    /// The whole risk assessment.
    #[serde(default)]
    pub risk_assessment: Map<String, Value>,
    /// Shown to the approver.
    #[serde(default)]
    pub details: Map<String, Value>,
    /// Distinct approvers needed.
    pub required: u32,
}

/// Data of `approve_gate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApproveGate {
    /// Who; `system` when nobody had to, `unknown` when nobody said.
    pub approver: String,
    /// In which role.
    pub approver_role: String,
    /// In their words.
    pub comment: Option<String>,
    /// Why it is right to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// Nobody checked who they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
}

/// Data of `reject_gate`; both spellings of the person's name and role are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RejectGate {
    /// Who.
    pub rejector: String,
    /// In which role.
    pub rejector_role: String,
    /// Same as `rejector`.
    pub approver: String,
    /// Same as `rejector_role`.
    pub approver_role: String,
    /// In their words.
    pub reason: String,
    /// Nobody checked who they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
}

/// Data of `resume_workflow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResumeWorkflow {
    /// `approved` or `rejected`.
    pub decision: String,
    /// Where the run goes.
    #[serde(flatten)]
    pub next: Next,
    /// What the approval's step leaves in `outputs`.
    #[serde(default)]
    pub result: Map<String, Value>,
}
