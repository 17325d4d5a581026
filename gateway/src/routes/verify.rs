//! `GET /workflow/{id}/verify`: whether a run's record is what was written.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use sluice_proto::api::{VerifyResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::get("/workflow/{id}/verify", verify)
        .about(
            "verifyWorkflow",
            "Whether the record of a run is what was written: which event, which field, what kind of damage.",
        )
        .gives::<VerifyResponse>(include_str!("../../../proto/golden/verify_response.json"))
        .fails(&[ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

async fn verify(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    super::ask_about(&app, &caller, id, verb::WORKFLOW_VERIFY).await.map(super::json)
}
