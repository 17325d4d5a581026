//! `POST /workflow/{id}/retry-from/{step_id}`: has a failed run go on from one of its steps.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use serde_json::json;
use sluice_proto::api::{RetryRequest, RetryResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;
use crate::query;

pub(super) fn route() -> Route {
    Route::post("/workflow/{id}/retry-from/{step_id}", retry)
        .about(
            "retryWorkflow",
            "Have a failed run go on from a step: it and the steps after it run again.",
        )
        .query::<u32>("max_retries", "How often this step may be retried so; 3 unless said.")
        .query::<String>("requested_by", "Who.")
        .gives::<RetryResponse>(include_str!("../../../proto/golden/retry_response.json"))
        .fails(&[
            ErrorCode::NotRetryable,
            ErrorCode::WorkflowNotFound,
            ErrorCode::StepNotFound,
            ErrorCode::InvalidBody,
        ])
}

async fn retry(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let (id, step_id) = path?.0;
    let workflow_id = super::workflow_id(&id)?.to_string();
    let request = read(workflow_id, step_id, raw.as_deref().unwrap_or_default())?;
    let answer = app.coordinator.ask(verb::WORKFLOW_RETRY, &request, &caller).await?;
    Ok(super::json(answer))
}

fn read(workflow_id: String, step_id: String, raw: &str) -> Result<RetryRequest, Failure> {
    let (mut max_retries, mut requested_by) = (None, None);
    for (name, value) in query::pairs(raw)? {
        match name.as_str() {
            "max_retries" => {
                query::once(&mut max_retries, &name, query::number::<u32>(&name, &value)?)?
            }
            "requested_by" => query::once(&mut requested_by, &name, value)?,
            _ => {}
        }
    }
    let mut request = json!({"workflow_id": workflow_id, "step_id": step_id});
    if let Some(max_retries) = max_retries {
        request["max_retries"] = max_retries.into();
    }
    if let Some(requested_by) = requested_by {
        request["requested_by"] = requested_by.into();
    }
    serde_json::from_value(request).map_err(|error| Failure::field("query", error.to_string()))
}
