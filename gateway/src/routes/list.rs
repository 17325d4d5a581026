//! `GET /workflows`: runs, as a bare array.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sluice_proto::api::{ListCursor, ListRequest, WorkflowSummary, verb};
use sluice_proto::error::ErrorCode;
use sluice_proto::event::Status;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;
use crate::query;

/// Pages of one answer at most; each is as large as NATS carries, unless runs vanish under it.
const MAX_PAGES: u32 = 1_000;

pub(super) fn route() -> Route {
    Route::get("/workflows", list)
        .about(
            "listWorkflows",
            "Runs, newest first: every open one and the newest 1,000 others unless limited.",
        )
        .query::<Status>("status", "Only runs with this status.")
        .query::<String>("template_name", "Only runs of this template.")
        .query::<u32>("limit", "At most this many.")
        .query::<u32>("offset", "Leave out this many.")
        .gives_array_of::<WorkflowSummary>()
        .fails(&[ErrorCode::InvalidBody])
        .also_on_state_address()
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let mut request = read(raw.as_deref().unwrap_or_default())?;
    let mut joined = Vec::new();
    for _ in 0..MAX_PAGES {
        let answer = app.coordinator.ask(verb::WORKFLOW_LIST, &request, &caller).await?;
        request.after = join(&mut joined, &answer)?;
        if request.after.is_none() {
            break;
        }
    }
    joined.extend_from_slice(if joined.is_empty() { b"[]" } else { b"]" });
    Ok(super::json(joined))
}

/// A misspelt status or limit would otherwise silently select other runs than were meant.
fn read(raw: &str) -> Result<ListRequest, Failure> {
    let mut request = ListRequest::default();
    for (name, value) in query::pairs(raw)? {
        match name.as_str() {
            "status" => query::once(&mut request.status, &name, status(&value)?)?,
            "template_name" => query::once(&mut request.template_name, &name, value)?,
            "limit" => query::once(&mut request.limit, &name, query::number(&name, &value)?)?,
            "offset" => query::once(&mut request.offset, &name, query::number(&name, &value)?)?,
            _ => {}
        }
    }
    Ok(request)
}

fn status(text: &str) -> Result<Status, Failure> {
    serde_json::from_value(text.into()).map_err(|_| {
        let expected =
            "expected pending, running, paused, completed, failed, rolled_back or cancelled";
        Failure::field("status", format!("'{}' is no status: {expected}", query::shown(text)))
    })
}

/// Adds the elements of one page to the array that is being written, without reading them; gives the place
/// of the next page.
fn join(joined: &mut Vec<u8>, answer: &Bytes) -> Result<Option<ListCursor>, Failure> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        workflows: &'a RawValue,
        next: Option<ListCursor>,
    }
    let parsed: Answer<'_> = serde_json::from_slice(answer).map_err(|error| {
        Failure::new(ErrorCode::Internal, format!("the coordinator's list cannot be read: {error}"))
    })?;
    let array = parsed.workflows.get();
    let elements = array.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let elements = elements
        .ok_or_else(|| Failure::new(ErrorCode::Internal, "the coordinator's list is no list"))?;
    if !elements.trim().is_empty() {
        joined.push(if joined.is_empty() { b'[' } else { b',' });
        joined.extend_from_slice(elements.as_bytes());
    }
    Ok(parsed.next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_query() {
        let request =
            read("status=rolled_back&template_name=a%20b&limit=5&offset=0&other=x").unwrap();
        assert_eq!(request.status, Some(Status::RolledBack));
        assert_eq!(request.template_name.as_deref(), Some("a b"));
        assert_eq!((request.limit, request.offset), (Some(5), Some(0)));
        assert_eq!(read("").unwrap(), ListRequest::default());
    }

    #[test]
    fn names_what_is_wrong() {
        for (raw, field) in [
            ("status=open", "status"),
            ("status=", "status"),
            ("limit=-1", "limit"),
            ("limit=ten", "limit"),
            ("offset=1.5", "offset"),
            ("limit=1&limit=2", "limit"),
            ("limit=99999999999", "limit"),
        ] {
            assert_eq!(read(raw).unwrap_err().error().errors[0].field, field, "{raw}");
        }
    }

    #[test]
    fn pages_become_one_array() {
        let mut joined = Vec::new();
        let page = |text: &'static str| Bytes::from_static(text.as_bytes());
        let next = join(
            &mut joined,
            &page(
                r#"{"workflows":[{"a":1},{"a":2}],"next":{"started_at":"2031-03-04T05:06:07Z","workflow_id":"x"}}"#,
            ),
        );
        assert_eq!(next.unwrap().unwrap().workflow_id, "x");
        assert!(join(&mut joined, &page(r#"{"workflows":[]}"#)).unwrap().is_none());
        assert!(join(&mut joined, &page(r#"{"workflows":[{"a":3}]}"#)).unwrap().is_none());
        assert_eq!(joined, br#"[{"a":1},{"a":2},{"a":3}"#);
    }
}
