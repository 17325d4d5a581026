//! `POST /workflow/{id}/replay`: folds a run's events and compares with what is stored.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use sluice_proto::api::{ReplayResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::post("/workflow/{id}/replay", replay)
        .about(
            "replayWorkflow",
            "Fold the events of a run and name what is stored otherwise. Changes nothing, asks no agent and no model.",
        )
        .gives::<ReplayResponse>(include_str!("../../../proto/golden/replay_response.json"))
        .fails(&[ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

async fn replay(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    super::ask_about(&app, &caller, id, verb::WORKFLOW_REPLAY).await.map(super::json)
}
