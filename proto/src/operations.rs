//! Bodies of the verbs that operators use. REST and NATS carry the same ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Status;
use crate::timestamp::Timestamp;

/// Answer to `worker.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkersResponse {
    /// By name; those that never said a name last.
    pub workers: Vec<WorkerView>,
    /// How many.
    pub count: usize,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerView {
    /// What it is called; none when it never announced itself.
    pub name: Option<String>,
    /// Its process.
    pub worker_id: String,
    /// Whether it is there.
    pub status: WorkerStatus,
    /// The agents it runs.
    pub agents: Vec<String>,
    /// Attempts it runs at the same time.
    pub concurrency: Option<u32>,
    /// Its program's version.
    pub version: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it was last heard of.
    pub last_heard_at: Option<Timestamp>,
    /// Attempts it holds, by its own last word.
    pub held: u32,
    /// Attempts that it has named itself for, oldest first. Short ones of agents that only look are never
    /// named.
    pub attempts: Vec<HeldAttempt>,
}

/// Whether a worker is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStatus {
    /// Heard of within a lease.
    Live,
    /// Not heard of for a lease; what it held goes to others.
    Lost,
    /// It holds attempts and never announced itself.
    Unannounced,
}

/// An attempt that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldAttempt {
    /// The run.
    pub workflow_id: String,
    /// Path of the step.
    pub step_id: String,
    /// Execution of its visit, from 1.
    pub attempt: u32,
    /// The agent that works at it.
    pub agent: String,
    /// Since when.
    pub since: Timestamp,
    /// Given up, without another word, at this moment.
    pub lease_until: Timestamp,
    /// It was claimed: its agent may have changed the world.
    pub claimed: bool,
}

/// Answer to `lock.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocksResponse {
    /// Locks that somebody holds or waits for, by name.
    pub locks: Vec<LockView>,
    /// How many.
    pub count: usize,
}

/// One lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockView {
    /// Its name.
    pub name: String,
    /// Who holds it; none while it changes hands.
    pub holder: Option<LockHolder>,
    /// Grows with every acquisition.
    pub fencing_number: u64,
    /// Who waits, in the order in which they will get it; the first thousand.
    pub waiters: Vec<LockWaiter>,
    /// How many wait.
    pub waiters_count: u64,
}

/// A run that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockHolder {
    /// The run.
    pub workflow_id: String,
    /// Step that took it.
    pub step_id: String,
    /// Since when.
    pub since: Timestamp,
    /// Status of the run: a paused one waits for a person and keeps the lock meanwhile.
    pub status: String,
    /// Where the run is now.
    pub current_step: Option<String>,
    /// Its template.
    pub template_name: String,
}

/// A run that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockWaiter {
    /// The run.
    pub workflow_id: String,
    /// Step that needs the lock.
    pub step_id: String,
    /// Place in the queue, from 1.
    pub position: u32,
    /// Before every run that is not.
    pub urgent: bool,
    /// Since when.
    pub since: Timestamp,
    /// When the wait ends in a failure.
    pub wait_until: Option<Timestamp>,
}

/// Body of `lock.release`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseLockRequest {
    /// The lock; over REST it is in the path.
    #[serde(default)]
    pub name: String,
    /// Why; it stands in the record of the run that loses the lock.
    pub reason: String,
    /// Who releases it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<String>,
    /// Only if this run holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
    /// Makes repeated requests one, for seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Answer to `lock.release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseLockResponse {
    /// The lock.
    pub name: String,
    /// The run that lost it.
    pub workflow_id: String,
    /// How that run stands now.
    pub status: Status,
    /// The run that has it now.
    pub handed_to: Option<String>,
}

/// Answer to `workflow.why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyResponse {
    /// The run.
    pub workflow_id: String,
    /// Its status.
    pub status: Status,
    /// What it waits for, since when, until when, and who can move it.
    pub sentence: String,
    /// Everything it waits for, people first, messages to people last.
    pub waits: Vec<Wait>,
}

/// One thing that a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wait {
    /// What it is.
    pub kind: WaitKind,
    /// Path of the step that waits; none once the run has ended.
    pub step_id: Option<String>,
    /// All of it, for people.
    pub sentence: String,
    /// Who can move it.
    pub who: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Execution that is under way, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The agent that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The worker that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The lock that is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// The run that holds the lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Place in the queue of the lock or of the agent, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The approval that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_id: Option<String>,
    /// Who must decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver_role: Option<String>,
    /// The child whose end is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_workflow_id: Option<String>,
}

/// Kinds of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// It waits for nothing any more.
    Ended,
    /// A person must decide.
    Approval,
    /// Another run holds a lock.
    Lock,
    /// A moment must come.
    Timer,
    /// A run that it started must end.
    Child,
    /// The next attempt is not due yet.
    Retry,
    /// No worker has taken the command.
    Queue,
    /// A worker has it.
    Worker,
    /// The command is on its way to the queue.
    Dispatch,
    /// Something that this version has no words for.
    Other,
}

/// Body of `dead_letter.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeadLettersRequest {
    /// Only these; those that wait for somebody when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<DeadLetterStatus>,
    /// At most this many, up to 1,000; 100 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only those older than this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// Answer to `dead_letter.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLettersResponse {
    /// Newest first, without their payloads.
    pub dead_letters: Vec<DeadLetterSummary>,
    /// How many are here.
    pub count: usize,
    /// How many wait for somebody in all.
    pub waiting: u64,
}

/// What has become of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterStatus {
    /// Nobody has looked after it yet.
    Waiting,
    /// It was sent again.
    Redriven,
    /// Nothing more comes of it.
    Dropped,
}

/// A message that could not be processed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterSummary {
    /// Its number.
    pub dead_letter_id: u64,
    /// `command` (refused), `step` (unreadable or delivered too often), `attempt` (lost under a worker too
    /// often).
    pub source: String,
    /// Where it came from, and where it goes when it is sent again.
    pub subject: String,
    /// Why it could not be processed.
    pub reason: String,
    /// What has become of it.
    pub status: DeadLetterStatus,
    /// Size of its payload.
    pub payload_bytes: u64,
    /// The run it is about, as far as that is known.
    pub workflow_id: Option<String>,
    /// How often it was delivered, as far as that is known.
    pub delivered_count: Option<u64>,
    /// When it was kept.
    pub created_at: Timestamp,
}

/// Body of `dead_letter.show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterRequest {
    /// Its number.
    pub dead_letter_id: u64,
}

/// Body of `dead_letter.redrive` and `dead_letter.drop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterActRequest {
    /// Its number; over REST it is in the path.
    #[serde(default)]
    pub dead_letter_id: u64,
    /// Who does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A dead letter with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterView {
    /// The fields of the list.
    #[serde(flatten)]
    pub summary: DeadLetterSummary,
    /// The beginning of its payload, as text.
    pub payload: String,
    /// There is more of it.
    pub payload_is_cut: bool,
    /// What was done about it, oldest first.
    pub acts: Vec<DeadLetterAct>,
}

/// Something that was done about a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterAct {
    /// `redrive` or `drop`.
    pub act: String,
    /// Who; `unknown` when nobody said.
    pub by: String,
    /// Why.
    pub comment: Option<String>,
    /// When.
    pub at: Timestamp,
}
