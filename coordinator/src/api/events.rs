//! `workflow.events`: a page of a run's history, each event as it is stored.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use sluice_proto::api::EventsRequest;
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::event::EventBody;
use sluice_proto::ids::WorkflowId;

use super::{Answer, decode, encode, workflow_id};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::store::events::{self, Filter, Page};
use crate::store::{StoreError, runs};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// What is written where `EventsResponse` is read: the events are not taken apart on their way.
#[derive(Serialize)]
struct Response {
    workflow_id: WorkflowId,
    total_events: u64,
    offset: u32,
    limit: u32,
    events: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// Ends early, yet never without an event, when a message would not hold more.
pub(super) async fn handle(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: EventsRequest = decode(body)?;
    let id = workflow_id(&request.workflow_id)?;
    let page = Page {
        limit: request.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
        offset: request.offset.unwrap_or_default(),
        after: request.after.unwrap_or_default(),
        bytes: shared.bus.max_payload() / 4 * 3,
    };
    let filter = Filter {
        action: request.action.as_deref().map(action).transpose()?,
        step: without_nul("step", request.step)?,
        from: request.from.map(Into::into),
        to: request.to.map(Into::into),
        actor: without_nul("actor", request.actor)?,
    };
    let found = find(shared, id, &filter, page).await.map_err(|error| api_error(&error))?;
    encode(&found.ok_or_else(|| ApiError::workflow_not_found(&request.workflow_id))?)
}

async fn find(
    shared: &Shared,
    id: WorkflowId,
    filter: &Filter,
    page: Page,
) -> Result<Option<Response>, StoreError> {
    let mut connection = shared.pool.acquire().await?;
    let heads = runs::find_heads(&mut connection, &[id.to_string()]).await?;
    let Some(head) = heads.first() else { return Ok(None) };
    // Counted after the page: events that come meanwhile are announced rather than missed.
    let found = events::page(&mut connection, head, filter, page).await?;
    let (total_events, last) = events::count(&mut connection, head, filter).await?;
    let next = found.last().map(|event| event.sequence).filter(|sequence| *sequence < last);
    Ok(Some(Response {
        workflow_id: id,
        total_events,
        offset: page.offset,
        limit: page.limit,
        events: found.iter().map(sluice_proto::verify::StoredEvent::to_export).collect(),
        next,
    }))
}

/// PostgreSQL takes no NUL; and nothing that was recorded has one.
fn without_nul(field: &str, value: Option<String>) -> Result<Option<String>, ApiError> {
    match value.as_deref().is_some_and(|value| value.contains('\0')) {
        true => Err(ApiError::field(field, "must have no NUL character")),
        false => Ok(value),
    }
}

/// The action that a caller names in any case.
fn action(name: &str) -> Result<&'static str, ApiError> {
    EventBody::find_action(name).ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        let known = EventBody::ACTIONS.join(", ");
        ApiError::new(
            ErrorCode::BadRequest,
            format!("no action '{shown}'; expected one of {known}"),
        )
    })
}
