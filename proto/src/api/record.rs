//! Bodies of the verbs that look back: verify, replay, state-at, diff, snapshots, annotate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::EventRecord;
use crate::event::Status;
use crate::ids::WorkflowId;
use crate::timestamp::Timestamp;
use crate::verify::Verdict;

/// Answer to `workflow.verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyResponse {
    /// The run.
    pub workflow_id: String,
    /// Nothing is wrong.
    pub valid: bool,
    /// What was looked at, and what is wrong.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Number of the last event that a checkpoint vouches for; none without checkpoints. What is cut off
    /// behind it shows only against the run's row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpointed: Option<u64>,
}

/// Answer to `workflow.replay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayResponse {
    /// The run.
    pub workflow_id: WorkflowId,
    /// Events that were folded.
    pub total_events: u64,
    /// The state they give.
    pub final_state: Map<String, Value>,
    /// It is what is stored of the run, and the record is whole.
    pub matches: bool,
    /// What is not.
    pub differences: Vec<Mismatch>,
    /// Nothing is wrong with the record: signatures, chain, numbers.
    pub signatures_valid: bool,
}

/// Something stored that the events do not lead to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mismatch {
    /// Which, as `<table>.<column>` or `event <number>`.
    pub what: String,
    /// As it is stored.
    pub stored: Value,
    /// As the events have it.
    pub replayed: Value,
}

/// Body of `workflow.state_at`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateAtRequest {
    /// The run; over REST it is in the path.
    #[serde(default)]
    pub workflow_id: String,
    /// A moment in RFC 3339, inclusive, or the number of an event; 0 is before the first one.
    pub at: String,
}

/// Answer to `workflow.state_at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateAtResponse {
    /// The run.
    pub workflow_id: WorkflowId,
    /// What was asked for.
    pub timestamp: String,
    /// Number of the last event that had been written by then; 0 before the first one.
    pub sequence: u64,
    /// The state at that time.
    pub state: Map<String, Value>,
}

/// Body of `workflow.diff`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffRequest {
    /// The run; over REST it is in the path.
    #[serde(default)]
    pub workflow_id: String,
    /// A moment in RFC 3339 or the number of an event.
    pub from: String,
    /// The same, and not earlier.
    pub to: String,
}

/// Answer to `workflow.diff`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiffResponse {
    /// The run.
    pub workflow_id: WorkflowId,
    /// Where it stood first.
    pub from: Place,
    /// Where it stood then.
    pub to: Place,
    /// What differs.
    pub changes: Vec<Change>,
    /// What happened in between, in order.
    pub events: Vec<DiffEvent>,
}

/// A place in a run's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// What was asked for.
    pub asked: String,
    /// Number of the last event that had been written by then; 0 before the first one.
    pub sequence: u64,
    /// When that was.
    pub timestamp: Option<Timestamp>,
    /// How the run stood.
    pub status: Status,
}

/// Something that differs between two states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Where, as a JSON pointer (RFC 6901).
    pub path: String,
    /// What stood there; none if nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What stands there then; none if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// An event in few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffEvent {
    /// Its number.
    pub sequence: u64,
    /// When it was decided.
    pub timestamp: Timestamp,
    /// What happened.
    pub action: String,
    /// The step it is about.
    pub step_id: Option<String>,
}

/// Answer to `workflow.snapshots`; over REST the bare array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotsResponse {
    /// The oldest first.
    pub snapshots: Vec<SnapshotView>,
}

/// One kept state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotView {
    /// UUID.
    pub snapshot_id: String,
    /// The run.
    pub workflow_id: WorkflowId,
    /// Events that are folded into it: a multiple of ten.
    pub event_count: u64,
    /// When it was kept.
    pub created_at: Timestamp,
}

/// Body of `workflow.annotate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnnotateRequest {
    /// The run; over REST it is in the path.
    #[serde(default)]
    pub workflow_id: String,
    /// Who writes.
    pub operator: String,
    /// In their words.
    pub comment: String,
    /// The event it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Makes repeated requests one, for seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Answer to `workflow.annotate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnnotateResponse {
    /// The run.
    pub workflow_id: WorkflowId,
    /// The event that was written.
    pub annotation: EventRecord,
}
