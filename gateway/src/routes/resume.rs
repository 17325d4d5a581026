//! `POST /workflow/resume/{id}`: decides what a paused run waits for.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use sluice_proto::api::{ResumeRequest, ResumeResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::post("/workflow/resume/{id}", resume)
        .about("resumeWorkflow", "Approve or reject what a paused run waits for.")
        .takes::<ResumeRequest>(include_str!("../../../proto/golden/resume_request.full.json"))
        .gives::<ResumeResponse>(include_str!("../../../proto/golden/resume_response.json"))
        .fails(&[
            ErrorCode::InvalidDecision,
            ErrorCode::Forbidden,
            ErrorCode::WorkflowNotFound,
            ErrorCode::AlreadyDecided,
            ErrorCode::InvalidBody,
        ])
}

async fn resume(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: JsonBody,
) -> Result<Response, Failure> {
    let mut request: ResumeRequest = body.read()?;
    // The path is what people see and what is logged: it wins over the body.
    request.workflow_id = super::workflow_id(&id?.0)?.to_string();
    let answer = app.coordinator.ask(verb::WORKFLOW_RESUME, &request, &caller).await?;
    Ok(super::json(answer))
}
