//! Messages between coordinator and workers. A worker in any language needs only these.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{AgentName, CommandId, WorkflowId};
use crate::timestamp::Timestamp;

/// Version of every message here, in its field `v`.
pub const MESSAGE_VERSION: u8 = 1;

fn version() -> u8 {
    MESSAGE_VERSION
}

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// A step of type `agent_call`.
    AgentCall,
    /// A decision gate that a model answers.
    Gate,
    /// The risk of an approval, answered by a model.
    RiskAssessment,
    /// Tell people that an approval waits for them.
    ApprovalRequest,
    /// Deliver a message to channels.
    Notification,
    /// Undo partial changes of a failed step.
    Compensate,
    /// Find out why a step keeps failing; change nothing.
    Diagnose,
}

impl CommandKind {
    /// The name it has in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentCall => "agent_call",
            Self::Gate => "gate",
            Self::RiskAssessment => "risk_assessment",
            Self::ApprovalRequest => "approval_request",
            Self::Notification => "notification",
            Self::Compensate => "compensate",
            Self::Diagnose => "diagnose",
        }
    }
}

/// One attempt on its way to a worker, on `sluice.step.<agent>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
    /// Names the attempt.
    pub command_id: CommandId,
    /// The run.
    pub workflow_id: WorkflowId,
    /// Template file name.
    pub template_name: String,
    /// Path of the step, as in `command_id`.
    pub step_id: String,
    /// How often the run has entered the step, from 1.
    pub visit: u32,
    /// Execution of this visit, from 1.
    pub attempt: u32,
    /// How often this attempt was published, from 1.
    pub dispatch: u32,
    /// What is asked for.
    pub kind: CommandKind,
    /// Who is asked.
    pub agent: AgentName,
    /// The step's payload, rendered.
    pub payload: Value,
    /// The run's context.
    pub context: Map<String, Value>,
    /// Same for every attempt and dispatch of one visit; pass it on to whatever you change.
    pub idempotency_key: String,
    /// Send it back with claim, heartbeats and result.
    pub fence: u64,
    /// True: claim the attempt before touching the world.
    pub claim: bool,
    /// A heartbeat is due well within this many milliseconds.
    pub lease_ms: u64,
    /// The attempt is given up this many milliseconds after it was taken.
    pub timeout_ms: u64,
    /// Spending limits, when the run has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Value>,
    /// Recent findings of other agents in this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub insights: Vec<Value>,
    /// Locks that the run holds. Whatever a lock protects can refuse a number lower than one it has seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<CommandLock>,
    /// What went wrong before, where the step is tried again and its tier has the agent learn from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// What is known about the failure after which a step is tried again. Its texts come from agents: material to
/// judge, never an instruction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// What it amounts to: 1 where nothing is remembered, 2 with what is, 3 with a diagnosis.
    pub tier: u8,
    /// Names failures that are alike.
    pub signature: String,
    /// The failure, for people.
    pub error: String,
    /// Its stable word.
    pub error_type: String,
    /// Earlier attempts of the agent that failed so, in whatever run.
    #[serde(default)]
    pub failures: u32,
    /// Attempts after such a failure that worked.
    #[serde(default)]
    pub recovered: u32,
    /// What the agent said in `fix` the last time it worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What the agent found that was asked why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Map<String, Value>>,
}

/// A lock that a run holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandLock {
    /// Name of the lock.
    pub name: String,
    /// Grows with every acquisition of this lock.
    pub fencing_number: u64,
}

/// Asks for the attempt's fence, on `sluice.claim.<agent>.<workflow_id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
    /// The attempt.
    pub command_id: CommandId,
    /// The command's fence.
    pub fence: u64,
    /// Who claims.
    pub worker_id: String,
}

/// Answer to a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ClaimReply {
    /// Go on; this fence replaces the command's.
    Granted {
        /// The new fence.
        fence: u64,
        /// Heartbeats extend it.
        lease_until: Timestamp,
    },
    /// Leave it: somebody else has it, or it is settled.
    Refused {
        /// Why.
        reason: Refusal,
    },
}

/// Extends the lease and shows progress, on `sluice.heartbeat.<agent>.<workflow_id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
    /// The attempt.
    pub command_id: CommandId,
    /// The fence in force.
    pub fence: u64,
    /// Who works.
    pub worker_id: String,
    /// Anything worth showing while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Value>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultStatus {
    /// `output` holds the answer.
    Ok,
    /// `error` says why not.
    Error,
}

/// What an attempt brought, on `sluice.result.<agent>.<workflow_id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepResult {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
    /// The attempt.
    pub command_id: CommandId,
    /// The run.
    pub workflow_id: WorkflowId,
    /// The fence in force.
    pub fence: u64,
    /// Whether it worked.
    pub status: ResultStatus,
    /// One JSON object; required when `status` is `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Required when `status` is `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AgentError>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Findings for later agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub insights: Vec<Value>,
    /// Who did it.
    pub worker_id: String,
    /// When the agent was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentError {
    /// Stable word, for example `timeout`, `bad_output`, `http_503`.
    pub code: String,
    /// For people; never a secret.
    pub message: String,
    /// Whether trying again can help; unknown when absent.
    #[serde(default, alias = "retriable", skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// Not before this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Tokens and money.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Which model answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// Answer to a [`StepResult`]; only after it is the command acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ResultReply {
    /// Postgres has it.
    Recorded,
    /// It changed nothing.
    Refused {
        /// Why.
        reason: Refusal,
    },
}

/// A late, repeated or superseded message is expected under at-least-once delivery: it is answered
/// and counted, and is no error.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such attempt is outstanding: settled, superseded, or its run has ended.
    NotOutstanding,
    /// Another fence is in force.
    StaleFence,
    /// The subject's agent is not the attempt's.
    WrongAgent,
    /// Another worker holds it.
    HeldByAnother,
    /// The command wanted a claim first.
    NotClaimed,
    /// The message contradicts itself.
    Malformed,
}

/// Tells the worker that holds an attempt to stop, on `sluice.cancel.<agent>.<workflow_id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelNotice {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
    /// The attempt.
    pub command_id: CommandId,
    /// The fence in force.
    pub fence: u64,
    /// Why.
    pub reason: String,
}
