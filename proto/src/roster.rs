//! Messages by which workers are known by name. A worker that never announces itself still works: then
//! only its leases tell that it is gone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AgentName, WorkerName};
use crate::message::MESSAGE_VERSION;
use crate::timestamp::Timestamp;

fn version() -> u8 {
    MESSAGE_VERSION
}

/// A worker says that it is there, on `sluice.worker.announce`: when it starts, from then on within every
/// lease, and when it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Announcement {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
    /// What it is called; the same after a restart.
    pub name: WorkerName,
    /// This process, as in claims, heartbeats and results; another one after a restart. One subject token.
    pub worker_id: WorkerName,
    /// The agents it runs.
    pub agents: Vec<AgentName>,
    /// Attempts it runs at the same time.
    pub concurrency: u32,
    /// Attempts it holds now.
    #[serde(default)]
    pub held: u32,
    /// Its program's version.
    #[serde(default)]
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// It was welcomed under this name before.
    #[serde(default)]
    pub joined: bool,
    /// It ends, and works at nothing any more.
    #[serde(default)]
    pub leaving: bool,
}

/// Answer to an [`Announcement`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum AnnouncementReply {
    /// The name is its own. What the former holder of the name had is dispatched again.
    Welcome {
        /// To be announced again well within this many milliseconds.
        lease_ms: u64,
    },
    /// The name is not its own.
    Refused {
        /// Why.
        reason: NameRefusal,
        /// Who has the name.
        holder: String,
        /// Worth another try after this many milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

/// Why a worker may not have its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameRefusal {
    /// A worker of this name is alive.
    Taken,
    /// A worker of this name is connected and does not answer; a lease after its last word the name is free.
    Silent,
    /// Another worker has taken the name since: everything this one held was given to others.
    Superseded,
    /// The message contradicts itself.
    Malformed,
}

/// Asks one worker whether it is alive, on `sluice.worker.ask.<worker_id>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PresenceQuestion {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
}

/// Answer to a [`PresenceQuestion`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Presence {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
    /// Who is there.
    pub worker_id: WorkerName,
    /// Attempts it holds now.
    #[serde(default)]
    pub held: u32,
}

/// Asks every worker for a heartbeat of each attempt it holds, on `sluice.worker.call`: what was delivered
/// and is not heard of then was lost with the worker that had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollCall {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
    /// Only attempts of these agents are asked for.
    pub agents: Vec<AgentName>,
}
