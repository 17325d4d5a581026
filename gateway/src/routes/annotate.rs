//! `POST /workflow/{id}/annotate`: writes something down about a run, as one of its events.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use sluice_proto::api::{AnnotateRequest, AnnotateResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::post("/workflow/{id}/annotate", annotate)
        .about(
            "annotateWorkflow",
            "Write something down about a run or one of its events. It becomes an event itself and moves nothing.",
        )
        .takes::<AnnotateRequest>(include_str!("../../../proto/golden/annotate_request.full.json"))
        .gives::<AnnotateResponse>(include_str!("../../../proto/golden/annotate_response.json"))
        .fails(&[ErrorCode::WorkflowNotFound, ErrorCode::EventNotFound, ErrorCode::InvalidBody])
}

async fn annotate(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: JsonBody,
) -> Result<Response, Failure> {
    let mut request: AnnotateRequest = body.read()?;
    request.workflow_id = super::workflow_id(&id?.0)?.to_string();
    let answer = app.coordinator.ask(verb::WORKFLOW_ANNOTATE, &request, &caller).await?;
    Ok(super::json(answer))
}
