//! Runs that have ended: for audits, and into the archive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Status;
use crate::ids::WorkflowId;
use crate::timestamp::Timestamp;

/// Days that a request looks back when it does not say.
const DEFAULT_DAYS: u32 = 7;
/// Days that a run stays out of the archive when a request does not say.
const DEFAULT_ARCHIVE_DAYS: u32 = 90;

/// Body of `workflow.ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedRequest {
    /// Only what happened in so many days up to now.
    #[serde(default = "days")]
    pub days: u32,
    /// Runs that went into the archive then, instead of those that ended then.
    #[serde(default)]
    pub archived: bool,
    /// Where the former page ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<EndedCursor>,
}

impl Default for EndedRequest {
    fn default() -> Self {
        Self { days: DEFAULT_DAYS, archived: false, after: None }
    }
}

fn days() -> u32 {
    DEFAULT_DAYS
}

/// The last run of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedCursor {
    /// When it ended, or went into the archive.
    pub at: Timestamp,
    /// The run.
    pub workflow_id: String,
}

/// Answer to `workflow.ended`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedResponse {
    /// The first to end, or to go into the archive, first.
    pub workflows: Vec<EndedRun>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<EndedCursor>,
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedRun {
    /// The run.
    pub workflow_id: WorkflowId,
    /// Template file name.
    pub template_name: String,
    /// How it ended.
    pub status: Status,
    /// When.
    pub completed_at: Timestamp,
    /// When its events went into the archive; none while they are among the others.
    pub archived_at: Option<Timestamp>,
}

/// Body of `workflow.archive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveRequest {
    /// Only runs that ended so many days ago or earlier.
    #[serde(default = "archive_days")]
    pub older_than_days: u32,
    /// Who wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
}

impl Default for ArchiveRequest {
    fn default() -> Self {
        Self { older_than_days: DEFAULT_ARCHIVE_DAYS, requested_by: None }
    }
}

fn archive_days() -> u32 {
    DEFAULT_ARCHIVE_DAYS
}

/// Answer to `workflow.archive`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveResponse {
    /// Runs that went into the archive.
    pub runs: u64,
    /// Their events.
    pub events: u64,
    /// There may be more such runs: ask again.
    pub more: bool,
}
