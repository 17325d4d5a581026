//! `POST /workflow/execute`: starts a run.

use axum::extract::State;
use axum::response::Response;
use sluice_proto::api::{ExecuteRequest, ExecuteResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::post("/workflow/execute", execute)
        .about("executeWorkflow", "Start a run. The answer comes as soon as the run is recorded.")
        .takes::<ExecuteRequest>(include_str!("../../../proto/golden/execute_request.minimal.json"))
        .gives::<ExecuteResponse>(include_str!("../../../proto/golden/execute_response.json"))
        .fails(&[
            ErrorCode::InvalidTemplateName,
            ErrorCode::TemplateNotFound,
            ErrorCode::WorkflowIdTaken,
            ErrorCode::InvalidBody,
            ErrorCode::InvalidTemplate,
        ])
}

async fn execute(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Failure> {
    body.read::<ExecuteRequest>()?;
    let answer = app.coordinator.ask(verb::WORKFLOW_EXECUTE, body.as_raw()?, &caller).await?;
    Ok(super::json(answer))
}
