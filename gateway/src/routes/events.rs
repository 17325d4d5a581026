//! `GET /workflow/{id}/events`: a run's history, a page at a time.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use sluice_proto::api::{EventsRequest, EventsResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;
use crate::query;

pub(super) fn route() -> Route {
    Route::get("/workflow/{id}/events", events)
        .about("workflowEvents", "The history of a run, in the order in which it was written.")
        .query::<u32>("limit", "At most this many; 100 by default, never more than 1,000.")
        .query::<u32>("offset", "Leave out this many.")
        .query::<String>("action", "Only events of this action, in upper or lower case.")
        .gives::<EventsResponse>(include_str!("../../../proto/golden/events_response.json"))
        .fails(&[ErrorCode::BadRequest, ErrorCode::InvalidBody, ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

async fn events(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let workflow_id = super::workflow_id(&id?.0)?.to_string();
    let request = read(workflow_id, raw.as_deref().unwrap_or_default())?;
    let answer = app.coordinator.ask(verb::WORKFLOW_EVENTS, &request, &caller).await?;
    let page = decode(&answer)?;
    if is_complete(&page) {
        return Ok(super::json(answer));
    }
    let whole = rest(&app, &caller, request, page).await?;
    let body = serde_json::to_vec(&whole).map_err(|error| internal(&error))?;
    Ok(super::json(body))
}

fn read(workflow_id: String, raw: &str) -> Result<EventsRequest, Failure> {
    let mut request = EventsRequest { workflow_id, ..EventsRequest::default() };
    for (name, value) in query::pairs(raw)? {
        match name.as_str() {
            "action" => query::once(&mut request.action, &name, value)?,
            "limit" => query::once(&mut request.limit, &name, query::number(&name, &value)?)?,
            "offset" => query::once(&mut request.offset, &name, query::number(&name, &value)?)?,
            _ => {}
        }
    }
    Ok(request)
}

/// Asks on where a message would not hold more. Offsets stay true: events are only ever added.
async fn rest(
    app: &App,
    caller: &Caller,
    request: EventsRequest,
    mut page: EventsResponse,
) -> Result<EventsResponse, Failure> {
    while !is_complete(&page) {
        let got = u32::try_from(page.events.len()).unwrap_or(u32::MAX);
        let next = EventsRequest {
            limit: Some(page.limit.saturating_sub(got)),
            offset: Some(page.offset.saturating_add(got)),
            ..request.clone()
        };
        let more = decode(&app.coordinator.ask(verb::WORKFLOW_EVENTS, &next, caller).await?)?;
        if more.events.is_empty() {
            break;
        }
        page.events.extend(more.events);
        page.total_events = more.total_events;
    }
    Ok(page)
}

fn is_complete(page: &EventsResponse) -> bool {
    let got = page.events.len() as u64;
    got >= u64::from(page.limit) || u64::from(page.offset) + got >= page.total_events
}

fn decode(answer: &Bytes) -> Result<EventsResponse, Failure> {
    serde_json::from_slice(answer).map_err(|error| internal(&error))
}

fn internal(error: &serde_json::Error) -> Failure {
    Failure::new(ErrorCode::Internal, format!("the coordinator's page cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_wrong() {
        for (raw, field) in
            [("limit=-1", "limit"), ("offset=x", "offset"), ("action=a&action=b", "action")]
        {
            let failure = read("a".into(), raw).unwrap_err();
            assert_eq!(failure.error().errors[0].field, field, "{raw}");
        }
        let request = read("a".into(), "limit=5&offset=2&action=Notify&other=x").unwrap();
        assert_eq!((request.limit, request.offset), (Some(5), Some(2)));
        assert_eq!(request.action.as_deref(), Some("Notify"));
    }
}
