//! `workflow.events`: a page of a run's history.

use std::sync::Arc;

use bytes::Bytes;
use sluice_proto::api::{EventRecord, EventsRequest, EventsResponse};
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::event::EventBody;
use sluice_proto::ids::WorkflowId;

use super::{Answer, decode, encode, workflow_id};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::store::events::{self, Page};
use crate::store::{StoreError, runs};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// Ends early, yet never without an event, when a message would not hold more.
pub(super) async fn handle(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: EventsRequest = decode(body)?;
    let id = workflow_id(&request.workflow_id)?;
    let action = request.action.as_deref().map(action).transpose()?;
    let limit = request.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let offset = request.offset.unwrap_or_default();
    let page = Page { action, limit, offset, bytes: shared.bus.max_payload() / 4 * 3 };
    let found = find(shared, &id, &page).await.map_err(|error| api_error(&error))?;
    let (total_events, events) = found.ok_or_else(|| ApiError::workflow_not_found(id.as_str()))?;
    encode(&EventsResponse { workflow_id: id, total_events, offset, limit, events })
}

async fn find(
    shared: &Shared,
    id: &WorkflowId,
    page: &Page,
) -> Result<Option<(u64, Vec<EventRecord>)>, StoreError> {
    let mut connection = shared.pool.acquire().await?;
    let heads = runs::find_heads(&mut connection, &[id.to_string()]).await?;
    let Some(head) = heads.first() else { return Ok(None) };
    // Counted after the page: events that come meanwhile are announced rather than missed.
    let events = events::page(&mut connection, head, page).await?;
    let total = events::count(&mut connection, head, page.action).await?;
    Ok(Some((total, events)))
}

/// The action that a caller names in any case.
fn action(name: &str) -> Result<&'static str, ApiError> {
    let found = EventBody::ACTIONS.iter().find(|action| action.eq_ignore_ascii_case(name));
    found.copied().ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        let known = EventBody::ACTIONS.join(", ");
        ApiError::new(
            ErrorCode::BadRequest,
            format!("no action '{shown}'; expected one of {known}"),
        )
    })
}
