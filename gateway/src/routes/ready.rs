//! `GET /ready`: whether a load balancer should send requests here, and what is missing if not.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use sluice_proto::error::{ApiError, ErrorCode};

use super::health;
use crate::app::App;
use crate::caller::Caller;
use crate::openapi::Route;

/// Body of `/ready`.
#[derive(Serialize, JsonSchema)]
struct Readiness {
    /// Whether requests can be served.
    ready: bool,
    /// What they need.
    integrations: Integrations,
    /// Why not, when not.
    #[serde(flatten)]
    error: Option<ApiError>,
}

/// Whether each answers.
#[derive(Serialize, JsonSchema)]
struct Integrations {
    /// The message server.
    nats: bool,
    /// A coordinator.
    coordinator: bool,
    /// The coordinator's database.
    database: bool,
}

pub(super) fn route() -> Route {
    Route::get("/ready", ready)
        .about(
            "ready",
            "200 when requests can be served, else 503; either way what is there and what is away.",
        )
        .gives::<Readiness>(
            r#"{"ready":true,"integrations":{"nats":true,"coordinator":true,"database":true}}"#,
        )
        .gives_instead::<Readiness>(503)
}

async fn ready(State(app): State<App>, caller: Caller) -> Response {
    let error = health::look(&app, &caller).await.err().map(|failure| failure.error().clone());
    let code = error.as_ref().map(|error| error.code);
    let integrations = Integrations {
        nats: app.coordinator.is_bus_connected(),
        coordinator: matches!(code, None | Some(ErrorCode::DatabaseUnavailable)),
        database: code.is_none(),
    };
    let status = if error.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: error.is_none(), integrations, error })).into_response()
}
