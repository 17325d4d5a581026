//! Bodies of the verbs that look back.

use serde_json::json;
use sluice_proto::api::{
    AnnotateRequest, AnnotateResponse, Change, DiffEvent, DiffRequest, DiffResponse, EventRecord,
    Mismatch, Place, ReplayResponse, SnapshotView, SnapshotsResponse, StateAtRequest,
    StateAtResponse, VerifyResponse,
};
use sluice_proto::event::Status;
use sluice_proto::ids::WorkflowId;
use sluice_proto::verify::{Damage, Finding, Verdict};

use super::Direction::{Read, Written};
use super::{Entry, entry, moment, object};

const ID: &str = "infrastructure-01ab23cd";

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        entry("verify_response", Written, vec![("", verified()), ("tampered", tampered())]),
        entry("replay_response", Written, vec![("", replayed())]),
        entry("state_at_request", Read, vec![("", state_at())]),
        entry("state_at_response", Written, vec![("", state_then())]),
        entry("diff_request", Read, vec![("", diff())]),
        entry("diff_response", Written, vec![("", difference())]),
        entry("snapshots_response", Written, vec![("", snapshots())]),
        entry("annotate_request", Read, vec![("minimal", note()), ("full", note_on_event())]),
        entry("annotate_response", Written, vec![("", noted())]),
    ]
}

fn id() -> WorkflowId {
    WorkflowId::parse(ID).unwrap()
}

fn verified() -> VerifyResponse {
    let verdict = Verdict {
        events: 17,
        key_ids: ["8f434346648f6b96".to_owned()].into(),
        last_hash: "ab".repeat(32),
        signatures_checked: true,
        findings: Vec::new(),
    };
    VerifyResponse { workflow_id: ID.into(), valid: true, verdict, checkpointed: Some(15) }
}

fn tampered() -> VerifyResponse {
    let mut response = verified();
    response.valid = false;
    response.checkpointed = None;
    response.verdict.findings.push(Finding {
        sequence: 5,
        event_id: Some("00000000-0000-7000-8000-000000000005".into()),
        damage: Damage::Changed,
        field: "body".into(),
        detail: "its signature does not belong to its content".into(),
    });
    response
}

fn replayed() -> ReplayResponse {
    ReplayResponse {
        workflow_id: id(),
        total_events: 17,
        final_state: object(json!({"workflow_id": ID, "status": "completed", "event_count": 17})),
        matches: false,
        differences: vec![Mismatch {
            what: "runs.status".into(),
            stored: json!("failed"),
            replayed: json!("completed"),
        }],
        signatures_valid: true,
    }
}

fn state_at() -> StateAtRequest {
    StateAtRequest { workflow_id: ID.into(), at: "2031-03-04T07:06:00.5+02:00".into() }
}

fn state_then() -> StateAtResponse {
    StateAtResponse {
        workflow_id: id(),
        timestamp: "2031-03-04T07:06:00.5+02:00".into(),
        sequence: 3,
        state: object(json!({"workflow_id": ID, "status": "paused", "event_count": 3})),
    }
}

fn diff() -> DiffRequest {
    DiffRequest { workflow_id: ID.into(), from: "2031-03-04T05:06:00Z".into(), to: "4".into() }
}

fn difference() -> DiffResponse {
    let place = |asked: &str, sequence, status| Place {
        asked: asked.into(),
        sequence,
        timestamp: Some(moment(i64::try_from(sequence).unwrap())),
        status,
    };
    DiffResponse {
        workflow_id: id(),
        from: place("2031-03-04T05:06:03Z", 3, Status::Paused),
        to: place("4", 4, Status::Running),
        changes: vec![
            Change {
                path: "/status".into(),
                before: Some(json!("paused")),
                after: Some(json!("running")),
            },
            Change { path: "/outputs/gate".into(), before: None, after: Some(json!({"ok": 1})) },
        ],
        events: vec![DiffEvent {
            sequence: 4,
            timestamp: moment(4),
            action: "resume_workflow".into(),
            step_id: Some("gate".into()),
        }],
    }
}

fn snapshots() -> SnapshotsResponse {
    let snapshot = |event_count| SnapshotView {
        snapshot_id: format!("00000000-0000-7000-8000-{event_count:012}"),
        workflow_id: id(),
        event_count,
        created_at: moment(0),
    };
    SnapshotsResponse { snapshots: vec![snapshot(10), snapshot(20)] }
}

fn note() -> AnnotateRequest {
    AnnotateRequest {
        workflow_id: ID.into(),
        operator: "alice@example.com".into(),
        comment: "approved by hand: the customer waits".into(),
        ..AnnotateRequest::default()
    }
}

fn note_on_event() -> AnnotateRequest {
    AnnotateRequest {
        event_id: Some("00000000-0000-7000-8000-000000000007".into()),
        request_id: Some("ticket-77".into()),
        ..note()
    }
}

fn noted() -> AnnotateResponse {
    let event = super::events::sample("annotate");
    AnnotateResponse {
        workflow_id: event.workflow_id.clone(),
        annotation: EventRecord { event, signature: "5".repeat(64) },
    }
}
