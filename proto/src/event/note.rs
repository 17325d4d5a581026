//! Events that are written down about a run and move nothing in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Data of `annotate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Annotate {
    /// Who.
    pub operator: String,
    /// In their words.
    pub comment: String,
    /// The event it is about, if it is about one.
    pub event_id: Option<String>,
}

/// Data of `create_snapshot`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateSnapshot {
    /// UUID.
    pub snapshot_id: String,
    /// Events that are folded into it.
    pub event_count: u64,
    /// Lower hex SHA-256 of the kept state.
    pub state_sha256: String,
}
