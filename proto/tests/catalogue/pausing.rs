//! Bodies with which an operator holds runs up.

use sluice_proto::api::{PauseRequest, UnpauseRequest};

use super::Direction::Read;
use super::{Entry, entry};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        entry("pause_request", Read, vec![("", pause())]),
        entry("unpause_request", Read, vec![("", unpause())]),
    ]
}

fn pause() -> PauseRequest {
    PauseRequest {
        workflow_id: "pr-deployment-5d20c1e7".into(),
        reason: "the provider has trouble".into(),
        paused_by: "ops@example.com".into(),
        request_id: None,
    }
}

fn unpause() -> UnpauseRequest {
    UnpauseRequest {
        workflow_id: "pr-deployment-5d20c1e7".into(),
        unpaused_by: "ops@example.com".into(),
        request_id: None,
    }
}
