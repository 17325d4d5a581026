//! Locks: waited for, held, given up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::WorkflowId;

/// Data of `wait_lock`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitLock {
    /// Name of the lock.
    pub resource_lock: String,
    /// Run that holds it.
    pub holder: Option<WorkflowId>,
}

/// Data of `acquire_lock`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AcquireLock {
    /// Name of the lock.
    pub resource_lock: String,
    /// From asking to getting.
    pub wait_ms: u64,
    /// Grows with every acquisition of this lock.
    pub fencing_number: u64,
}

/// Data of `release_lock`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseLock {
    /// Name of the lock.
    pub resource_lock: String,
    /// From getting to giving up.
    pub held_ms: u64,
    /// Set when it was taken from the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<ForcedRelease>,
}

/// Who took a lock from a run, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForcedRelease {
    /// In their words.
    pub reason: String,
    /// Who; `unknown` when nobody said.
    pub released_by: String,
}
