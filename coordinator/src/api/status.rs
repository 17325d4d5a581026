//! `workflow.status` and `workflow.state`: where a run stands.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{state_response, status_response};
use sluice_proto::api::WorkflowRequest;
use sluice_proto::error::ApiError;

use super::{Answer, decode, encode, workflow_id};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::loader::LoadedRun;
use crate::store::StoreError;

pub(super) async fn status(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let run = find(shared, body).await?;
    encode(&status_response(&run.template, &run.state))
}

pub(super) async fn state(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let run = find(shared, body).await?;
    encode(&state_response(&run.template, &run.state))
}

pub(super) async fn find(shared: &Arc<Shared>, body: &Bytes) -> Result<LoadedRun, ApiError> {
    let request: WorkflowRequest = decode(body)?;
    let id = workflow_id(&request.workflow_id)?;
    let loaded = async {
        let mut connection = shared.pool.acquire().await?;
        shared.loader.load(&mut connection, &[id.to_string()]).await
    };
    let mut runs = loaded.await.map_err(|error: StoreError| api_error(&error))?;
    runs.remove(id.as_str()).ok_or_else(|| ApiError::workflow_not_found(id.as_str()))
}
