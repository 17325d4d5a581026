//! Runs that have ended, and the archive.

use sluice_proto::api::{
    ArchiveRequest, ArchiveResponse, EndedCursor, EndedRequest, EndedResponse, EndedRun,
};
use sluice_proto::event::Status;
use sluice_proto::ids::WorkflowId;

use super::Direction::{Read, Written};
use super::{Entry, entry, moment};

const ID: &str = "infrastructure-01ab23cd";

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        entry("ended_request", Read, vec![("minimal", EndedRequest::default()), ("full", next())]),
        entry("ended_response", Written, vec![("", ended())]),
        entry("archive_request", Read, vec![("", archive())]),
        entry("archive_response", Written, vec![("", archived())]),
    ]
}

fn cursor() -> EndedCursor {
    EndedCursor { at: moment(60), workflow_id: ID.into() }
}

fn next() -> EndedRequest {
    EndedRequest { days: 30, archived: true, after: Some(cursor()) }
}

fn ended() -> EndedResponse {
    let run = EndedRun {
        workflow_id: WorkflowId::parse(ID).unwrap(),
        template_name: "infrastructure.workflow.yaml".into(),
        status: Status::RolledBack,
        completed_at: moment(60),
        archived_at: None,
    };
    EndedResponse { workflows: vec![run], next: Some(cursor()) }
}

fn archive() -> ArchiveRequest {
    ArchiveRequest { older_than_days: 90, requested_by: Some("ops@example.com".into()) }
}

fn archived() -> ArchiveResponse {
    ArchiveResponse { runs: 200, events: 8_412, more: true }
}
