//! `workflow.annotate`: somebody writes something down about a run, or about one of its events.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::Input;
use sluice_proto::api::{AnnotateRequest, verb};
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::event::Annotate;
use sluice_proto::ids::WorkflowId;

use super::execute::request_name;
use super::{Answer, decode, submit, text, workflow_id};
use crate::coordinator::Shared;
use crate::intake::{Work, api_error};
use crate::store::{StoreError, events, runs};

pub(super) async fn handle(
    shared: &Arc<Shared>,
    body: &Bytes,
    request_id: Option<String>,
) -> Answer {
    let asked: AnnotateRequest = decode(body)?;
    let id = workflow_id(&asked.workflow_id)?;
    let needed = |field: &str, value| {
        text(field, Some(value))?.ok_or_else(|| ApiError::field(field, "must not be empty"))
    };
    let operator = needed("operator", asked.operator)?;
    let comment = needed("comment", asked.comment)?;
    let event_id = text("event_id", asked.event_id)?;
    if let Some(event_id) = &event_id {
        let found = has_event(shared, &id, event_id).await.map_err(|error| api_error(&error))?;
        match found {
            Some(true) => {}
            Some(false) => return Err(no_event(&id, event_id)),
            None => return Err(ApiError::workflow_not_found(id.as_str())),
        }
    }
    let request = request_name(asked.request_id.or(request_id), verb::WORKFLOW_ANNOTATE)?;
    let input = Input::Annotate(Annotate { operator, comment, event_id });
    submit(shared, id, Work::Control { input, request }).await
}

/// None when there is no such run.
async fn has_event(
    shared: &Shared,
    id: &WorkflowId,
    event_id: &str,
) -> Result<Option<bool>, StoreError> {
    let mut connection = shared.pool.acquire().await?;
    let heads = runs::find_heads(&mut connection, &[id.to_string()]).await?;
    let Some(head) = heads.first() else { return Ok(None) };
    Ok(Some(events::has_event(&mut connection, head, event_id).await?))
}

fn no_event(id: &WorkflowId, event_id: &str) -> ApiError {
    let shown: String = event_id.chars().take(80).collect();
    let detail =
        format!("run {id} has no event '{shown}'; `sluice events {id}` shows those it has");
    ApiError::new(ErrorCode::EventNotFound, detail)
}
