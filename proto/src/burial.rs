//! How a worker hands over a command that nobody can process.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::MESSAGE_VERSION;

fn version() -> u8 {
    MESSAGE_VERSION
}

/// A command that a worker cannot read, on `sluice.worker.bury`. Only once it is recorded is the command
/// taken off the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Burial {
    /// Message version.
    #[serde(default = "version")]
    pub v: u8,
    /// Who could not read it.
    pub worker_id: String,
    /// Where it came from.
    pub subject: String,
    /// Its place in the stream.
    pub stream_sequence: u64,
    /// How often it was delivered.
    #[serde(default)]
    pub delivered_count: u64,
    /// Why it cannot be read.
    pub reason: String,
    /// Its body, Base64; cut short when it would not fit.
    pub payload: String,
}
