//! `GET /workflow/{id}/snapshots`: states of a run that are kept, as a bare array.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use sluice_proto::api::{SnapshotView, verb};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::get("/workflow/{id}/snapshots", snapshots)
        .about(
            "workflowSnapshots",
            "States of a run that are kept so that its history need not be folded from its beginning: after every tenth event, the last three.",
        )
        .gives_array_of::<SnapshotView>()
        .fails(&[ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    snapshots: &'a RawValue,
}

async fn snapshots(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let answer = super::ask_about(&app, &caller, id, verb::WORKFLOW_SNAPSHOTS).await?;
    let answer: Answer<'_> = serde_json::from_slice(&answer).map_err(|error| {
        Failure::new(ErrorCode::Internal, format!("the coordinator's list cannot be read: {error}"))
    })?;
    Ok(super::json(answer.snapshots.get().to_owned()))
}
