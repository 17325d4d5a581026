//! One file a subject: its handler, what it takes and gives, and its lines in the OpenAPI document.

mod annotate;
mod archive;
mod breakers;
mod cancel;
mod csv;
mod dead_letters;
mod diff;
mod events;
mod execute;
mod export;
mod follow;
mod health;
mod list;
mod locks;
mod metrics;
mod openapi;
mod pause;
mod pdf;
mod ready;
mod replay;
mod resume;
mod retry;
mod snapshots;
mod state;
mod state_at;
mod status;
mod templates;
mod verify;
mod why;
mod workers;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use sluice_proto::api::WorkflowRequest;
use sluice_proto::error::ApiError;
use sluice_proto::ids::WorkflowId;

use crate::app::{App, Service};
use crate::caller::Caller;
use crate::failure::{self, Failure};
use crate::guard;
use crate::openapi::Route;

/// Every route, as the OpenAPI document shows them.
pub(crate) fn all() -> Vec<Route> {
    vec![
        execute::route(),
        status::route(),
        resume::route(),
        cancel::route(),
        breakers::route(),
        retry::route(),
        pause::route(),
        pause::unpause_route(),
        templates::route(),
        list::route(),
        archive::ended_route(),
        archive::archive_route(),
        events::route(),
        export::route(),
        verify::route(),
        replay::route(),
        state_at::route(),
        snapshots::route(),
        diff::route(),
        annotate::route(),
        state::route(),
        state::plural_route(),
        why::route(),
        dead_letters::list_route(),
        dead_letters::show_route(),
        dead_letters::redrive_route(),
        dead_letters::drop_route(),
        locks::list_route(),
        locks::release_route(),
        workers::route(),
        health::route(),
        ready::route(),
        metrics::route(),
        openapi::route(),
    ]
}

/// What one of the two addresses answers.
pub(crate) fn router(app: &App, service: Service) -> Router {
    let app = app.on(service);
    let here = |route: &Route| service == Service::Orchestrator || route.on_state_address;
    let routes = all().into_iter().filter(here);
    routes
        .fold(Router::new(), |router, route| router.route(route.path, route.handler))
        .fallback(failure::unknown_route)
        .method_not_allowed_fallback(failure::wrong_method)
        .layer(from_fn_with_state(app.clone(), guard::observe))
        .with_state(app)
}

/// The coordinator's bytes as they are: the order of their keys is part of the contract.
fn json(bytes: impl Into<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes.into()).into_response()
}

/// What the coordinator says to a verb that needs nothing but the run that a path names.
async fn ask_about(
    app: &App,
    caller: &Caller,
    id: Result<Path<String>, PathRejection>,
    verb: &'static str,
) -> Result<Bytes, Failure> {
    let request = WorkflowRequest { workflow_id: workflow_id(&id?.0)?.to_string() };
    app.coordinator.ask(verb, &request, caller).await
}

/// Text that is no id names no run.
fn workflow_id(text: &str) -> Result<WorkflowId, Failure> {
    WorkflowId::parse(text).map_err(|_| ApiError::workflow_not_found(text).into())
}
