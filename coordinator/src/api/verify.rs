//! `workflow.verify`: whether a run's record is what was written.

use std::sync::Arc;

use bytes::Bytes;
use sluice_proto::api::WorkflowRequest;
use sluice_proto::error::ApiError;

use super::{Answer, decode, encode, workflow_id};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::record;

pub(super) async fn handle(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: WorkflowRequest = decode(body)?;
    let id = workflow_id(&request.workflow_id)?;
    let found = record::find(&shared.pool, &id).await.map_err(|error| api_error(&error))?;
    let (record, _) = found.ok_or_else(|| ApiError::workflow_not_found(id.as_str()))?;
    encode(&record.verify(Some(&shared.keys), &[]))
}
