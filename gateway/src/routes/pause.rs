//! `POST /workflow/{id}/pause` and `/unpause`: an operator holds a run up, or lets it go on.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use sluice_proto::api::{PauseRequest, StatusResponse, UnpauseRequest, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::post("/workflow/{id}/pause", pause)
        .about(
            "pauseWorkflow",
            "Hold a run up: what is under way is still recorded, nothing new begins. No approval lets it go on.",
        )
        .takes::<PauseRequest>(include_str!("../../../proto/golden/pause_request.json"))
        .gives::<StatusResponse>(include_str!("../../../proto/golden/status_response.paused.json"))
        .fails(&[ErrorCode::NotPausable, ErrorCode::WorkflowNotFound, ErrorCode::InvalidBody])
}

pub(super) fn unpause_route() -> Route {
    Route::post("/workflow/{id}/unpause", unpause)
        .about("unpauseWorkflow", "Let a run go on that an operator held up. Decides no approval.")
        .takes::<UnpauseRequest>(include_str!("../../../proto/golden/unpause_request.json"))
        .gives::<StatusResponse>(include_str!("../../../proto/golden/status_response.paused.json"))
        .fails(&[ErrorCode::NotPaused, ErrorCode::WorkflowNotFound, ErrorCode::InvalidBody])
}

async fn pause(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: JsonBody,
) -> Result<Response, Failure> {
    let mut request: PauseRequest = body.read()?;
    request.workflow_id = super::workflow_id(&id?.0)?.to_string();
    let answer = app.coordinator.ask(verb::WORKFLOW_PAUSE, &request, &caller).await?;
    Ok(super::json(answer))
}

async fn unpause(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: JsonBody,
) -> Result<Response, Failure> {
    let mut request: UnpauseRequest = body.read()?;
    request.workflow_id = super::workflow_id(&id?.0)?.to_string();
    let answer = app.coordinator.ask(verb::WORKFLOW_UNPAUSE, &request, &caller).await?;
    Ok(super::json(answer))
}
