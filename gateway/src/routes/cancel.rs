//! `DELETE /workflow/{id}`: ends a run and cleans up after it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use serde_json::json;
use sluice_proto::api::{CancelRequest, CancelResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;
use crate::query;

pub(super) fn route() -> Route {
    Route::delete("/workflow/{id}", cancel)
        .about(
            "cancelWorkflow",
            "End a run: agents are told to stop, locks handed over, approvals closed, children cancelled.",
        )
        .query::<String>("reason", "Why.")
        .query::<String>("cancelled_by", "Who.")
        .query::<bool>("force", "At once, without what the template does on a cancellation.")
        .gives::<CancelResponse>(include_str!("../../../proto/golden/cancel_response.json"))
        .fails(&[ErrorCode::NotCancellable, ErrorCode::WorkflowNotFound, ErrorCode::InvalidBody])
}

async fn cancel(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let workflow_id = super::workflow_id(&id?.0)?.to_string();
    let request = read(workflow_id, raw.as_deref().unwrap_or_default())?;
    let answer = app.coordinator.ask(verb::WORKFLOW_CANCEL, &request, &caller).await?;
    Ok(super::json(answer))
}

fn read(workflow_id: String, raw: &str) -> Result<CancelRequest, Failure> {
    let (mut reason, mut cancelled_by, mut force) = (None, None, None);
    for (name, value) in query::pairs(raw)? {
        match name.as_str() {
            "reason" => query::once(&mut reason, &name, value)?,
            "cancelled_by" => query::once(&mut cancelled_by, &name, value)?,
            "force" => query::once(&mut force, &name, query::truth(&name, &value)?)?,
            _ => {}
        }
    }
    let mut request = json!({"workflow_id": workflow_id, "force": force.unwrap_or(false)});
    for (name, value) in [("reason", reason), ("cancelled_by", cancelled_by)] {
        if let Some(value) = value {
            request[name] = value.into();
        }
    }
    serde_json::from_value(request).map_err(|error| Failure::field("query", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default() {
        let request = read("a-1".to_owned(), "").unwrap();
        assert_eq!(request.reason, "User requested cancellation");
        assert_eq!((request.cancelled_by.as_str(), request.force), ("unknown", false));
        let request =
            read("a-1".to_owned(), "reason=Emergency%20fix&cancelled_by=ops@x&force=true").unwrap();
        assert_eq!((request.reason.as_str(), request.force), ("Emergency fix", true));
        assert!(read("a-1".to_owned(), "force=yes").is_err());
    }
}
