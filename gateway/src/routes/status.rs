//! `GET /workflow/status/{id}`: where a run is.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use sluice_proto::api::{StatusResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::get("/workflow/status/{id}", status)
        .about(
            "workflowStatus",
            "Where a run is: its status, its steps, their outputs, what it waits for.",
        )
        .gives::<StatusResponse>(include_str!("../../../proto/golden/status_response.paused.json"))
        .fails(&[ErrorCode::WorkflowNotFound])
}

async fn status(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    super::ask_about(&app, &caller, id, verb::WORKFLOW_STATUS).await.map(super::json)
}
