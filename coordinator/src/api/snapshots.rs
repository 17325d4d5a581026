//! `workflow.snapshots`: states of a run that are kept.

use std::sync::Arc;

use bytes::Bytes;
use sluice_proto::api::{SnapshotsResponse, WorkflowRequest};
use sluice_proto::error::ApiError;

use super::{Answer, decode, encode, workflow_id};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::store::{StoreError, runs, snapshots};

pub(super) async fn handle(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: WorkflowRequest = decode(body)?;
    let id = workflow_id(&request.workflow_id)?;
    let found = async {
        let mut connection = shared.pool.acquire().await?;
        let heads = runs::find_heads(&mut connection, &[id.to_string()]).await?;
        match heads.is_empty() {
            true => Ok(None),
            false => snapshots::of_run(&mut connection, id.as_str()).await.map(Some),
        }
    };
    let rows = found.await.map_err(|error: StoreError| api_error(&error))?;
    let rows = rows.ok_or_else(|| ApiError::workflow_not_found(id.as_str()))?;
    encode(&SnapshotsResponse { snapshots: rows.into_iter().map(|row| row.view(&id)).collect() })
}
