//! `workflow.replay`: folds a run's events and compares the outcome with what is stored. No agent and no
//! model is asked: what they said stands in the events.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use sluice_engine::{Past, current_step};
use sluice_proto::api::{Mismatch, ReplayResponse, WorkflowRequest};
use sluice_proto::error::ApiError;
use sluice_proto::event::Event;
use sluice_proto::ids::WorkflowId;

use super::{Answer, decode, encode, workflow_id};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::record::{self, StoredRecord, compare};
use crate::store::outstanding::{self, Outstanding};
use crate::store::runs::{self, Projection, RunHead};
use crate::store::snapshots::{self, SnapshotRow};
use crate::store::{self, StoreError};

/// What is stored of one run, as of one moment.
struct Stored {
    record: StoredRecord,
    row: Option<(RunHead, Projection)>,
    outstanding: Outstanding,
    snapshots: Vec<SnapshotRow>,
}

pub(super) async fn handle(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: WorkflowRequest = decode(body)?;
    let id = workflow_id(&request.workflow_id)?;
    let stored = read(shared, &id).await.map_err(|error| api_error(&error))?;
    let stored = stored.ok_or_else(|| ApiError::workflow_not_found(id.as_str()))?;
    encode(&replay(shared, id, stored).await)
}

async fn read(shared: &Shared, id: &WorkflowId) -> Result<Option<Stored>, StoreError> {
    let mut transaction = store::begin_snapshot(&shared.pool).await?;
    let Some((record, head)) = record::read(&mut transaction, id.as_str()).await? else {
        return Ok(None);
    };
    let projection = runs::find_projection(&mut transaction, id.as_str()).await?;
    let outstanding = outstanding::find(&mut transaction, id.as_str()).await?;
    let snapshots = snapshots::of_run(&mut transaction, id.as_str()).await?;
    Ok(Some(Stored { record, row: head.zip(projection), outstanding, snapshots }))
}

async fn replay(shared: &Shared, id: WorkflowId, stored: Stored) -> ReplayResponse {
    let Stored { record, row, outstanding, snapshots } = stored;
    let verdict = record.verify(Some(&shared.keys), &[]);
    let mut past = Past::new(id.clone());
    let mut differences: Vec<Mismatch> = verdict.verdict.findings.iter().map(damage).collect();
    for stored in &record.events {
        match Event::read(&stored.body, stored.sequence) {
            Ok(event) => {
                past.apply(&event);
                let kept = snapshots.iter().filter(|row| row.event_count == bigint(event.sequence));
                let hash = stored.hash();
                differences.extend(
                    kept.filter_map(|row| compare::snapshot(&shared.keys, row, past.state(), hash)),
                );
            }
            Err(error) => {
                differences.push(Mismatch {
                    what: format!("event {}", stored.sequence),
                    stored: json!(error.to_string()),
                    replayed: json!("the replay ends before it"),
                });
                break;
            }
        }
    }
    let state = past.state();
    let template = async {
        let mut connection = shared.pool.acquire().await?;
        let (file, sha256) = (&state.template_name, &state.template_sha256);
        shared.library.pinned(&mut connection, file, sha256).await
    };
    let template: Result<_, StoreError> = template.await;
    let template = template.map_err(|error| {
        differences.push(Mismatch {
            what: "templates".to_owned(),
            stored: json!(error.to_string()),
            replayed: json!(state.template_sha256),
        });
    });
    let template = template.ok();
    match &row {
        Some((head, projection)) => {
            differences.extend(compare::row(template.as_deref(), state, head, projection));
            let last = record.events.last().map(sluice_proto::verify::StoredEvent::hash);
            differences.extend(last.and_then(|last| compare::last_hash(head, last)));
        }
        None => differences.push(Mismatch {
            what: "runs".to_owned(),
            stored: json!(null),
            replayed: json!(state.status),
        }),
    }
    if let Some(template) = &template {
        differences.extend(compare::outstanding(template, state, &outstanding));
    }
    let current = template.as_deref().and_then(|template| current_step(template, state));
    ReplayResponse {
        workflow_id: id,
        total_events: record.events.len() as u64,
        final_state: past.view(current.as_deref()),
        matches: differences.is_empty(),
        differences,
        signatures_valid: verdict.valid,
    }
}

fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn damage(finding: &sluice_proto::verify::Finding) -> Mismatch {
    Mismatch {
        what: format!("event {}", finding.sequence),
        stored: json!({"damage": finding.damage, "field": finding.field}),
        replayed: json!(finding.detail),
    }
}
