//! `GET /workflow/{id}/why`: what a run waits for.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use sluice_proto::api::verb;
use sluice_proto::error::ErrorCode;
use sluice_proto::operations::WhyResponse;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::get("/workflow/{id}/why", why)
        .about(
            "workflowWhy",
            "What a run waits for, since when, until when, and who can move it: as fields and in one sentence.",
        )
        .gives::<WhyResponse>(include_str!("../../../proto/golden/why_response.json"))
        .fails(&[ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

async fn why(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    super::ask_about(&app, &caller, id, verb::WORKFLOW_WHY).await.map(super::json)
}
