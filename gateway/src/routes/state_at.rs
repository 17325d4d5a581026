//! `GET /workflow/{id}/state-at/{timestamp}`: a run as it was at a moment.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use sluice_proto::api::{StateAtRequest, StateAtResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::get("/workflow/{id}/state-at/{timestamp}", state_at)
        .about(
            "workflowStateAt",
            "A run as it was at a moment (RFC 3339 with any offset, inclusive), or after the event of a number.",
        )
        .gives::<StateAtResponse>(include_str!("../../../proto/golden/state_at_response.json"))
        .fails(&[ErrorCode::BadRequest, ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

async fn state_at(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Failure> {
    let (id, at) = path?.0;
    let workflow_id = super::workflow_id(&id)?.to_string();
    let request = StateAtRequest { workflow_id, at };
    let answer = app.coordinator.ask(verb::WORKFLOW_STATE_AT, &request, &caller).await?;
    Ok(super::json(answer))
}
