//! `GET /locks` and `POST /locks/{name}/release`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;
use sluice_proto::api::verb;
use sluice_proto::error::ErrorCode;
use sluice_proto::operations::{LocksResponse, ReleaseLockRequest, ReleaseLockResponse};

use crate::app::App;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn list_route() -> Route {
    Route::get("/locks", list)
        .about(
            "listLocks",
            "Locks that somebody holds or waits for: by whom, since when, and who is next.",
        )
        .gives::<LocksResponse>(include_str!("../../../proto/golden/locks_response.json"))
        .also_on_state_address()
}

async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Failure> {
    app.coordinator.ask(verb::LOCK_LIST, &json!({}), &caller).await.map(super::json)
}

pub(super) fn release_route() -> Route {
    Route::post("/locks/{name}/release", release)
        .about(
            "releaseLock",
            "Take a lock from the run that holds it; a step of that run that works under it fails as lock_lost.",
        )
        .takes::<ReleaseLockRequest>(include_str!("../../../proto/golden/release_lock_request.json"))
        .gives::<ReleaseLockResponse>(include_str!("../../../proto/golden/release_lock_response.json"))
        .fails(&[ErrorCode::LockNotHeld, ErrorCode::InvalidBody])
}

async fn release(
    State(app): State<App>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
    body: JsonBody,
) -> Result<Response, Failure> {
    let mut request: ReleaseLockRequest = body.read()?;
    request.name = name?.0;
    app.coordinator.ask(verb::LOCK_RELEASE, &request, &caller).await.map(super::json)
}
