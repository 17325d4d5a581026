//! `GET /workflow/{id}/events`: a run's history, a page at a time, or as it comes.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sluice_proto::api::{EventsRequest, EventsResponse, verb};
use sluice_proto::error::ErrorCode;
use sluice_proto::timestamp::Timestamp;

use super::follow;
use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;
use crate::query;

pub(super) fn route() -> Route {
    Route::get("/workflow/{id}/events", events)
        .about(
            "workflowEvents",
            "The history of a run, in the order in which it was written; with follow=1 as server-sent events, as it is written.",
        )
        .query::<u32>("limit", "At most this many; 100 by default, never more than 1,000.")
        .query::<u32>("offset", "Leave out this many.")
        .query::<u64>("after", "Only events behind this number: a page's `next`.")
        .query::<String>("action", "Only events of this action, in upper or lower case.")
        .query::<String>("step", "Only events about this step, or about work around it.")
        .query::<Timestamp>("from", "Only events of this moment and later.")
        .query::<Timestamp>("to", "Only events of this moment and earlier.")
        .query::<String>("actor", "Only events that say that this person or agent did it.")
        .query::<bool>(
            "follow",
            "Server-sent events: what there is, then what comes, until the run has ended and nothing is under way. The id of each is its number; Last-Event-ID goes on behind it.",
        )
        .gives::<EventsResponse>(include_str!("../../../proto/golden/events_response.json"))
        .fails(&[ErrorCode::BadRequest, ErrorCode::InvalidBody, ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

async fn events(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let workflow_id = super::workflow_id(&id?.0)?.to_string();
    let (request, follow) = read(workflow_id, raw.as_deref().unwrap_or_default())?;
    if follow {
        return follow::start(app, caller, request, &headers).await;
    }
    let answer = app.coordinator.ask(verb::WORKFLOW_EVENTS, &request, &caller).await?;
    let page = Page::read(&answer)?;
    if page.is_complete() {
        return Ok(super::json(answer));
    }
    let whole = page.fill(&app, &caller, &request).await?;
    let body = serde_json::to_vec(&whole).map_err(|error| internal(&error))?;
    Ok(super::json(body))
}

fn read(workflow_id: String, raw: &str) -> Result<(EventsRequest, bool), Failure> {
    let mut request = EventsRequest { workflow_id, ..EventsRequest::default() };
    let mut follow = None;
    for (name, value) in query::pairs(raw)? {
        match name.as_str() {
            "action" => query::once(&mut request.action, &name, value)?,
            "step" => query::once(&mut request.step, &name, value)?,
            "actor" => query::once(&mut request.actor, &name, value)?,
            "from" => query::once(&mut request.from, &name, query::moment(&name, &value)?)?,
            "to" => query::once(&mut request.to, &name, query::moment(&name, &value)?)?,
            "limit" => query::once(&mut request.limit, &name, query::number(&name, &value)?)?,
            "offset" => query::once(&mut request.offset, &name, query::number(&name, &value)?)?,
            "after" => query::once(&mut request.after, &name, query::number(&name, &value)?)?,
            "follow" => query::once(&mut follow, &name, query::truth(&name, &value)?)?,
            _ => {}
        }
    }
    Ok((request, follow.unwrap_or(false)))
}

/// An [`EventsResponse`] whose events are left as they are stored: one that somebody has damaged must not
/// hide the others.
#[derive(Serialize, Deserialize)]
pub(super) struct Page {
    workflow_id: String,
    total_events: u64,
    offset: u32,
    limit: u32,
    pub(super) events: Vec<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<u64>,
}

impl Page {
    pub(super) fn read(answer: &Bytes) -> Result<Self, Failure> {
        serde_json::from_slice(answer).map_err(|error| internal(&error))
    }

    fn is_complete(&self) -> bool {
        self.next.is_none() || self.events.len() as u64 >= u64::from(self.limit)
    }

    /// Asks on where a message would not hold more.
    async fn fill(
        mut self,
        app: &App,
        caller: &Caller,
        request: &EventsRequest,
    ) -> Result<Self, Failure> {
        while !self.is_complete() {
            let got = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
            let next = EventsRequest {
                limit: Some(self.limit.saturating_sub(got)),
                offset: None,
                after: self.next,
                ..request.clone()
            };
            let more =
                Self::read(&app.coordinator.ask(verb::WORKFLOW_EVENTS, &next, caller).await?)?;
            if more.events.is_empty() {
                break;
            }
            self.events.extend(more.events);
            (self.total_events, self.next) = (more.total_events, more.next);
        }
        Ok(self)
    }
}

/// Every event of a run.
pub(super) async fn all(
    app: &App,
    caller: &Caller,
    workflow_id: &str,
) -> Result<Vec<Box<RawValue>>, Failure> {
    let mut request = EventsRequest {
        workflow_id: workflow_id.to_owned(),
        limit: Some(1_000),
        ..EventsRequest::default()
    };
    let mut gathered = Vec::new();
    loop {
        let answer = app.coordinator.ask(verb::WORKFLOW_EVENTS, &request, caller).await?;
        let page = Page::read(&answer)?;
        gathered.extend(page.events);
        if page.next.is_none() || page.next == request.after {
            return Ok(gathered);
        }
        request.after = page.next;
    }
}

fn internal(error: &serde_json::Error) -> Failure {
    Failure::new(ErrorCode::Internal, format!("the coordinator's page cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_wrong() {
        for (raw, field) in [
            ("limit=-1", "limit"),
            ("offset=x", "offset"),
            ("action=a&action=b", "action"),
            ("from=yesterday", "from"),
            ("to=", "to"),
            ("after=-1", "after"),
            ("follow=maybe", "follow"),
        ] {
            let failure = read("a".into(), raw).unwrap_err();
            assert_eq!(failure.error().errors[0].field, field, "{raw}");
        }
        let raw =
            "limit=5&offset=2&action=Notify&other=x&from=2024-01-15T11:15:00%2B01:00&follow=1";
        let (request, follow) = read("a".into(), raw).unwrap();
        assert_eq!((request.limit, request.offset, follow), (Some(5), Some(2), true));
        assert_eq!(request.action.as_deref(), Some("Notify"));
        assert_eq!(request.from.unwrap().to_string(), "2024-01-15T10:15:00.000000Z");
    }
}
