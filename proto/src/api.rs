//! Bodies of the API. REST and NATS carry the same ones.

mod archive;
mod breakers;
mod children;
mod control;
mod record;
pub mod verb;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::{Event, Status, StepStatus};
use crate::ids::WorkflowId;
use crate::timestamp::Timestamp;

pub use archive::{
    ArchiveRequest, ArchiveResponse, EndedCursor, EndedRequest, EndedResponse, EndedRun,
};
pub use breakers::{BreakerView, BreakersResponse};
pub use children::ChildWorkflow;
pub use control::{
    CancelCleanup, CancelRequest, CancelResponse, PauseRequest, RetryRequest, RetryResponse,
    Suspended, UnpauseRequest,
};
pub use record::{
    AnnotateRequest, AnnotateResponse, Change, DiffEvent, DiffRequest, DiffResponse, Mismatch,
    Place, ReplayResponse, SnapshotView, SnapshotsResponse, StateAtRequest, StateAtResponse,
    VerifyResponse,
};

/// Body of `workflow.execute`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecuteRequest {
    /// Template file name; the suffix `.workflow.yaml` may be left out.
    pub template_name: String,
    /// What the templates reads as `context.*`.
    pub context: Map<String, Value>,
    /// Id of the caller's choice; made from the template's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
    /// The run in whose name this one is started: cancelling that cancels this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_workflow_id: Option<String>,
    /// Makes repeated requests one, for seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Body of the verbs that name a run and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowRequest {
    /// The run.
    pub workflow_id: String,
}

/// Body of `workflow.resume`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResumeRequest {
    /// The run; over REST it is in the path.
    #[serde(default)]
    pub workflow_id: String,
    /// `approved` or `rejected`.
    #[serde(alias = "decision")]
    pub approval_decision: String,
    /// The approval that is meant; whatever the run waits for when absent. Say it where two people may
    /// decide at once: the second decision must not count for the run's next approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_id: Option<String>,
    /// Who decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// In which role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver_role: Option<String>,
    /// In their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Why it is right to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// Makes repeated requests one, for seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Answer to `workflow.execute`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecuteResponse {
    /// The run.
    pub workflow_id: WorkflowId,
    /// `pending` or `running` right after the start.
    pub status: Status,
    /// Step under way; the last executed one once the run has ended.
    pub current_step: Option<String>,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Every step of the template, in file order.
    pub step_statuses: IndexMap<String, StepStatus>,
    /// By step.
    pub outputs: IndexMap<String, Value>,
}

/// Answer to `workflow.status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusResponse {
    /// The fields of the execute response.
    #[serde(flatten)]
    pub run: ExecuteResponse,
    /// Template file name.
    pub template_name: String,
    /// What went wrong, for people.
    pub error_message: Option<String>,
    /// Step that failed or diverted the run.
    pub failed_step: Option<String>,
    /// Stable word for why it failed.
    pub failure_reason: Option<String>,
    /// What the person who rejected said.
    pub rejection_reason: Option<String>,
    /// What the person who cancelled said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation_reason: Option<String>,
    /// Set while an operator holds the run up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
    /// When the run is over, whatever it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Timestamp>,
    /// Who cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// When; what `on_cancel` undoes comes after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Timestamp>,
    /// What the run waits for a person for.
    pub pending_approval: Option<PendingApproval>,
    /// Lock it queues for.
    pub waiting_for_lock: Option<String>,
    /// Moment that a step of it waits for, the earliest if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_until: Option<Timestamp>,
    /// Locks it holds.
    pub locks: Vec<String>,
    /// The run that started it.
    pub parent_workflow_id: Option<WorkflowId>,
    /// Runs it started, and runs that were started in its name, oldest first.
    pub child_workflows: Vec<ChildWorkflow>,
    /// When its last event was written.
    pub updated_at: Timestamp,
}

/// Answer to `workflow.state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateResponse {
    /// The fields of the status response.
    #[serde(flatten)]
    pub status: StatusResponse,
    /// The caller's context.
    pub context: Map<String, Value>,
    /// Gate decisions by step.
    pub decisions: IndexMap<String, Value>,
    /// Every approval of the run, decided or not.
    pub approvals: Vec<Value>,
    /// Events so far.
    pub event_count: u64,
    /// The template text the run is pinned to.
    pub template_sha256: String,
    /// Who works, by step: every step that calls an agent.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub step_agents: IndexMap<String, String>,
}

/// What a paused run waits for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PendingApproval {
    /// Id of the approval.
    pub approval_id: String,
    /// Step that waits.
    pub step_id: String,
    /// `low`, `medium`, `high` or `critical`.
    pub risk_level: String,
    /// Who must decide.
    pub approver_role: Option<String>,
    /// Why it is that risky.
    pub reasoning: Option<String>,
    /// Shown to the approver.
    pub details: Map<String, Value>,
    /// Distinct approvers needed.
    pub required: u32,
    /// Distinct approvers so far.
    pub received: u32,
    /// Who they are.
    pub approvers: Vec<String>,
    /// Issue people see it in, once there is one.
    pub issue: Option<Value>,
    /// When the run paused.
    pub created_at: Timestamp,
    /// When it will be decided without them.
    pub expires_at: Option<Timestamp>,
}

/// Answer to `workflow.resume`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResumeResponse {
    /// The run.
    pub workflow_id: WorkflowId,
    /// Status after the decision.
    pub status: Status,
    /// Step under way.
    pub current_step: Option<String>,
    /// The decision as taken.
    pub approval_decision: String,
    /// Distinct approvers so far.
    pub approvals_received: u32,
    /// Distinct approvers needed.
    pub approvals_required: u32,
    /// Every step of the template, in file order.
    pub step_statuses: IndexMap<String, StepStatus>,
    /// When the run ended.
    pub completed_at: Option<Timestamp>,
}

/// Body of `workflow.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListRequest {
    /// Only this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Only this template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_name: Option<String>,
    /// At most this many; every open run and the newest 1,000 others when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Leave out this many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    /// Go on where an answer was cut: its `next`, under the same conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<ListCursor>,
}

/// Answer to `workflow.list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListResponse {
    /// Newest first; as many as fit into one message.
    pub workflows: Vec<WorkflowSummary>,
    /// Set when there are more than fit: to be asked with. Over REST the pages are joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ListCursor>,
}

/// A place in the list of runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListCursor {
    /// Start of the last run before it.
    pub started_at: Timestamp,
    /// Id of that run.
    pub workflow_id: String,
    /// What is left of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u32>,
}

/// Body of `workflow.events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsRequest {
    /// The run.
    pub workflow_id: String,
    /// Only events of this action, in upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// At most this many, 100 when absent, never more than 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Leave out this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    /// Only events about this step, or about work around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Only events of this moment and later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Only events of this moment and earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Only events that say that this person or agent did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Only events behind this number: a page's `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Answer to `workflow.events`.
///
/// Over NATS it ends early when a message would not hold more; the gateway asks for the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventsResponse {
    /// The run.
    pub workflow_id: WorkflowId,
    /// How many there are, with the filter and without the page.
    pub total_events: u64,
    /// Left out before the first of these.
    pub offset: u32,
    /// The limit in force.
    pub limit: u32,
    /// In the order in which they were written.
    pub events: Vec<EventRecord>,
    /// Set when there are more: what to ask for as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One event with its signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// What was signed, as canonical JSON.
    #[serde(flatten)]
    pub event: Event,
    /// Lower hex HMAC-SHA256 of that, under the secret that `key_id` names.
    pub signature: String,
}

/// One run in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowSummary {
    /// The run.
    pub workflow_id: WorkflowId,
    /// Its status.
    pub status: Status,
    /// Step under way; the last executed one once the run has ended.
    pub current_step: Option<String>,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// Template file name.
    pub template_name: String,
    /// The run that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_workflow_id: Option<WorkflowId>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// When its last event was written.
    pub updated_at: Timestamp,
    /// Step that failed or diverted the run.
    pub failed_step: Option<String>,
    /// What went wrong, for people.
    pub error_message: Option<String>,
}

/// Answer to `template.list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TemplatesResponse {
    /// The well-known five first, then by name.
    pub templates: Vec<TemplateSummary>,
    /// How many.
    pub count: usize,
}

/// One template in a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateSummary {
    /// File name with its suffix.
    pub template_name: String,
    /// Human name.
    pub name: String,
    /// One line.
    pub description: String,
    /// The template's own version.
    pub version: String,
    /// Context keys the author expects.
    pub required_context: Vec<String>,
    /// Context keys the author can use.
    pub optional_context: Vec<String>,
    /// How many steps.
    pub steps_count: usize,
    /// Agents in first-use order.
    pub agents_involved: Vec<String>,
    /// 2 an agent call, 5 an approval, 1 any other step.
    pub estimated_duration_minutes: u32,
    /// `low`, `medium` or `high`.
    pub risk_level: String,
    /// Whether it can be run.
    pub valid: bool,
    /// What is wrong or doubtful, as `file:line:column: what`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// Body of `template.validate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValidateRequest {
    /// Name shown in findings.
    pub template_name: String,
    /// The YAML text.
    pub text: String,
}

/// Answer to `template.validate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValidateResponse {
    /// Whether it can be run.
    pub valid: bool,
    /// What is wrong or doubtful, as `file:line:column: what`.
    pub findings: Vec<String>,
}

/// Answer to `system.health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthResponse {
    /// Version of the coordinator that answered.
    pub version: String,
    /// `connected` or `disconnected`.
    pub database_status: String,
    /// When it looked.
    pub timestamp: Timestamp,
    /// PostgreSQL's `fsync` in force; empty when it does not answer.
    #[serde(default)]
    pub fsync: String,
    /// PostgreSQL's `synchronous_commit` in force; empty when it does not answer.
    #[serde(default)]
    pub synchronous_commit: String,
}
