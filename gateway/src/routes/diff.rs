//! `GET /workflow/{id}/diff`: what happened to a run between two moments.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use sluice_proto::api::{DiffRequest, DiffResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;
use crate::query;

pub(super) fn route() -> Route {
    Route::get("/workflow/{id}/diff", diff)
        .about(
            "diffWorkflow",
            "What differs in a run between two moments, and what happened there.",
        )
        .query::<String>(
            "from",
            "A moment (RFC 3339) or the number of an event; 0 is before the first.",
        )
        .query::<String>("to", "The same, and not earlier.")
        .gives::<DiffResponse>(include_str!("../../../proto/golden/diff_response.json"))
        .fails(&[ErrorCode::BadRequest, ErrorCode::InvalidBody, ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

async fn diff(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let workflow_id = super::workflow_id(&id?.0)?.to_string();
    let (mut from, mut to) = (None, None);
    for (name, value) in query::pairs(raw.as_deref().unwrap_or_default())? {
        match name.as_str() {
            "from" => query::once(&mut from, &name, value)?,
            "to" => query::once(&mut to, &name, value)?,
            _ => {}
        }
    }
    let from = from.ok_or_else(|| Failure::field("from", "is missing"))?;
    let to = to.ok_or_else(|| Failure::field("to", "is missing"))?;
    let request = DiffRequest { workflow_id, from, to };
    let answer = app.coordinator.ask(verb::WORKFLOW_DIFF, &request, &caller).await?;
    Ok(super::json(answer))
}
