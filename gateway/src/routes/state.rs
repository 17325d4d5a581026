//! `GET /workflow/{id}` and `GET /workflows/{id}`: everything about a run.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use sluice_proto::api::{StateResponse, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    described(Route::get("/workflow/{id}", state), "workflowState")
}

/// The same under the name of the collection.
pub(super) fn plural_route() -> Route {
    described(Route::get("/workflows/{id}", state), "workflowsState")
}

fn described(route: Route, id: &'static str) -> Route {
    route
        .about(id, "The whole state of a run: its status, context, decisions, approvals and locks.")
        .gives::<StateResponse>(include_str!("../../../proto/golden/state_response.json"))
        .fails(&[ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

async fn state(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    super::ask_about(&app, &caller, id, verb::WORKFLOW_STATE).await.map(super::json)
}
