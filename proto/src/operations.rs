//! Bodies of the verbs that operators use. REST and NATS carry the same ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
