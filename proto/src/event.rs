//! The events of a run: facts, in the past tense of the record, never changed once written.
//!
//! A new field is optional with a default, so that older events still decode.

mod approval;
mod children;
mod control;
mod failure;
mod lock;
mod note;
mod read;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{AgentName, WorkflowId};
use crate::message::{Recovery, Usage};
use crate::timestamp::Timestamp;

pub use approval::{ApproveGate, PauseWorkflow, RejectGate, ResumeWorkflow};
pub use children::{ChildWorkflowComplete, StartChildWorkflow};
pub use control::{
    CancelWorkflow, ContinueWorkflow, ExpireWorkflow, RetryCommand, SuspendWorkflow,
};
pub use failure::Escalate;
pub use lock::{AcquireLock, ForcedRelease, ReleaseLock, WaitLock};
pub use note::{Annotate, CreateSnapshot};
pub use read::UnreadableEvent;

/// Version written by this release: signed, chained.
pub const EVENT_VERSION: u32 = 2;

/// One entry of a run's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// UUID.
    pub event_id: String,
    /// The run.
    pub workflow_id: WorkflowId,
    /// The run that started it, if one did.
    pub parent_workflow_id: Option<WorkflowId>,
    /// Position in the run's history, from 1, without gaps.
    pub sequence: u64,
    /// The step it is about.
    pub step_id: Option<String>,
    /// When it was decided.
    pub timestamp: Timestamp,
    /// Version of this record's format.
    pub event_version: u32,
    /// Lower hex SHA-256 of the preceding event's canonical bytes; 64 zeros before the first.
    pub prev_hash: String,
    /// Which secret signed it.
    pub key_id: String,
    /// What happened: `action` and its `data`.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", content = "data", rename_all = "snake_case")]
pub enum EventBody {
    /// The run was accepted.
    StartWorkflow(StartWorkflow),
    /// An agent answered and its gate has yet to be asked.
    RecordOutput(RecordOutput),
    /// A step ended well and its next was chosen.
    CompleteStep(CompleteStep),
    /// An attempt failed.
    FailStep(FailStep),
    /// The step is tried again.
    RetryStep(RetryStep),
    /// The run waits for a person.
    PauseWorkflow(PauseWorkflow),
    /// Somebody approved.
    ApproveGate(ApproveGate),
    /// Somebody rejected.
    RejectGate(RejectGate),
    /// A decision took effect.
    ResumeWorkflow(ResumeWorkflow),
    /// A step's changes were undone.
    RollbackStep(RollbackStep),
    /// People are told of a failure.
    Escalate(Escalate),
    /// Somebody ended the run; what it holds is cleaned up before it is `cancelled`.
    CancelWorkflow(CancelWorkflow),
    /// Somebody holds the run up.
    SuspendWorkflow(SuspendWorkflow),
    /// Somebody has it go on.
    ContinueWorkflow(ContinueWorkflow),
    /// The run took too long.
    ExpireWorkflow(ExpireWorkflow),
    /// The run queues for a lock that another run holds.
    WaitLock(WaitLock),
    /// The run holds a lock.
    AcquireLock(AcquireLock),
    /// The run gave a lock up.
    ReleaseLock(ReleaseLock),
    /// A message is to be delivered, was delivered, or could not be.
    Notify(Notify),
    /// An agent reported a finding.
    CaptureInsight(CaptureInsight),
    /// The run has ended.
    CompleteWorkflow(CompleteWorkflow),
    /// A step waits for a moment.
    StartTimer(StartTimer),
    /// Branches of a step begin.
    StartBranches(StartBranches),
    /// Somebody wrote something about the run.
    Annotate(Annotate),
    /// The state of the run was kept.
    CreateSnapshot(CreateSnapshot),
    /// The run has a child from now on.
    StartChildWorkflow(StartChildWorkflow),
    /// A child of the run has ended, or could not be started.
    ChildWorkflowComplete(ChildWorkflowComplete),
}

/// Gives every kind of event its action's name, as stored.
macro_rules! actions {
    ($($kind:ident $action:literal)*) => {
        impl EventBody {
            /// Every action's name.
            pub const ACTIONS: &[&str] = &[$($action),*];

            /// The action that somebody names in any case.
            #[must_use]
            pub fn find_action(name: &str) -> Option<&'static str> {
                Self::ACTIONS.iter().copied().find(|action| action.eq_ignore_ascii_case(name))
            }

            /// The action's name as stored.
            #[must_use]
            pub fn action(&self) -> &'static str {
                match self { $(Self::$kind(_) => $action,)* }
            }
        }
    };
}

actions! {
    StartWorkflow "start_workflow"
    RecordOutput "record_output"
    CompleteStep "complete_step"
    FailStep "fail_step"
    RetryStep "retry_step"
    PauseWorkflow "pause_workflow"
    ApproveGate "approve_gate"
    RejectGate "reject_gate"
    ResumeWorkflow "resume_workflow"
    RollbackStep "rollback_step"
    Escalate "escalate"
    CancelWorkflow "cancel_workflow"
    SuspendWorkflow "suspend_workflow"
    ContinueWorkflow "continue_workflow"
    ExpireWorkflow "expire_workflow"
    WaitLock "wait_lock"
    AcquireLock "acquire_lock"
    ReleaseLock "release_lock"
    Notify "notify"
    CaptureInsight "capture_insight"
    CompleteWorkflow "complete_workflow"
    StartTimer "start_timer"
    StartBranches "start_branches"
    Annotate "annotate"
    CreateSnapshot "create_snapshot"
    StartChildWorkflow "start_child_workflow"
    ChildWorkflowComplete "child_workflow_complete"
}

/// Status of a run.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, not started.
    #[default]
    Pending,
    /// Something is under way.
    Running,
    /// Waits for a person.
    Paused,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Ended badly, its changes undone.
    RolledBack,
    /// Ended by a person.
    Cancelled,
}

impl Status {
    /// Nothing can happen to the run any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::RolledBack | Self::Cancelled)
    }

    /// The name it has in JSON and SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Status of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not reached yet.
    Pending,
    /// Under way, or waiting for a person or a lock.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Never reached, and never will be.
    Skipped,
}

/// What a virtual target makes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// `completed`; `rolled_back` if a rollback step succeeded last.
    Completed,
    /// `failed`; `rolled_back` if a rollback step succeeded in this run.
    Failed,
    /// `rolled_back`.
    RolledBack,
    /// `paused` until somebody resumes it.
    Paused,
    /// `cancelled`.
    Cancelled,
}

/// Where a run goes from a step. It stands in the event, so that a fold needs no template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Next {
    /// Next step, or the virtual target that was reached; null while the step goes on.
    pub next_step: Option<String>,
    /// Lock the next step runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_lock: Option<String>,
    /// Set when `next_step` is a virtual target: what it makes of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// Data of `start_workflow`; `step_id` is the first step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartWorkflow {
    /// The caller's context.
    pub context: Map<String, Value>,
    /// Template file name.
    pub template_name: String,
    /// The template's own version.
    pub template_version: String,
    /// Lower hex SHA-256 of the template text the run is pinned to.
    pub template_sha256: String,
    /// Agents the template names, in first-use order.
    pub participating_agents: Vec<AgentName>,
    /// Lock the first step runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_lock: Option<String>,
    /// When the run is over, whatever it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Timestamp>,
}

/// Data of `record_output`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordOutput {
    /// The agent's answer.
    pub result: Map<String, Value>,
    /// Execution it came from.
    pub attempt: u32,
    /// From taking the attempt to its end.
    pub duration_ms: u64,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// Data of `complete_step`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompleteStep {
    /// Becomes `outputs.<step>`.
    pub result: Map<String, Value>,
    /// Where the run goes.
    #[serde(flatten)]
    pub next: Next,
    /// Value the route was chosen by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Who chose: `rules`, `model`, `condition`, `system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// The gate's whole answer, for `use_previous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Map<String, Value>>,
    /// Set when the step diverted the run off its good path: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Execution it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// From taking the attempt to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Expressions that could not be evaluated, and comparisons of nothing with nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// The step was a rollback, and it worked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolled_back: bool,
}

/// Data of `fail_step`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailStep {
    /// For people.
    pub error: String,
    /// Stable word.
    pub error_type: String,
    /// Whether trying again could have helped.
    pub retriable: bool,
    /// Execution that failed.
    pub attempt: u32,
    /// No further attempt of this visit.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Where the run goes, when final.
    #[serde(flatten)]
    pub next: Next,
    /// The agent did it and failed for good: counts for the step's circuit breaker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exhausted: bool,
    /// The agent is asked to undo what it did before the run goes there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compensates: bool,
    /// Not final yet: this agent is asked what is wrong, and then the step is tried once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosed_by: Option<AgentName>,
    /// What the step leaves in `outputs` besides the error, when final.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub result: Map<String, Value>,
}

/// Data of `retry_step`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetryStep {
    /// Which retry, from 1.
    pub retry_attempt: u32,
    /// Retries allowed.
    pub max_retries: u32,
    /// Nominal delay, seconds.
    pub backoff_delay: f64,
    /// Real start, with jitter.
    pub next_retry_at: Timestamp,
    /// What the agent is told about the failure, where the step's tier says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Set when a person asked for it, after the run had failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<RetryCommand>,
}

/// Data of `rollback_step`; `step_id` is the step whose changes were undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackStep {
    /// Why.
    pub reason: String,
    /// The step that undid them.
    pub by_step: String,
    /// Set when the agent that failed undid its own partial changes: where the run goes then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensated: Option<Next>,
}

/// Data of `notify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Notify {
    /// Names the delivery within the run.
    pub notification_id: String,
    /// What set it off.
    pub trigger: String,
    /// Where it goes.
    pub channels: Vec<String>,
    /// Name of the message file.
    pub template: Option<String>,
    /// `requested`, `delivered` or `failed`.
    pub status: String,
    /// The command's payload, when `requested`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Map<String, Value>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Data of `start_branches`; `step_id` is the step whose branches they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartBranches {
    /// Those that begin now.
    pub branches: Vec<BranchStart>,
    /// How many there are in all; said when the first ones begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// The items of a `for_each`, by index; said when the first ones begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Value>>,
}

/// A branch that begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BranchStart {
    /// Its name, or the index of its item.
    pub branch: String,
    /// Its first step.
    #[serde(flatten)]
    pub next: Next,
}

/// Data of `start_timer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartTimer {
    /// The moment the step waits for.
    pub until: Timestamp,
}

/// Data of `capture_insight`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureInsight {
    /// UUID-like, unique in the run.
    pub insight_id: String,
    /// Agent that reported it.
    pub agent_id: String,
    /// For example `security_finding`; `general` when it did not say.
    pub insight_type: String,
    /// At most 500 characters.
    pub content: String,
    /// 0 to 1.
    pub confidence: f64,
    /// Step it was reported in.
    pub source_step: String,
}

/// Data of `complete_workflow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompleteWorkflow {
    /// Terminal status.
    pub status: Status,
    /// Virtual target that was reached.
    pub target: String,
    /// Stable word, for example `loop_limit`; none when the run ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
}
