//! `GET /health`: whether runs can be taken and carried on.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use sluice_proto::api::{HealthResponse, verb};
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::timestamp::Timestamp;

use crate::app::{App, Service};
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

/// Body of `/health` when all is well.
#[derive(Serialize, JsonSchema)]
struct Healthy {
    /// `ok`.
    status: &'static str,
    /// Which service answers.
    service: &'static str,
    /// Version of the coordinator.
    version: String,
    /// When the coordinator looked.
    timestamp: Timestamp,
    /// Only on the state address.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_status: Option<String>,
}

/// Body of `/health` when something is away.
#[derive(Serialize, JsonSchema)]
struct Unhealthy {
    /// `unavailable`.
    status: &'static str,
    /// Which service answers.
    service: &'static str,
    /// `disconnected`, unless the trouble is another.
    database_status: &'static str,
    #[serde(flatten)]
    error: ApiError,
}

pub(super) fn route() -> Route {
    Route::get("/health", health)
        .about("health", "200 when a coordinator answers and its database is connected; else 503 says what is away.")
        .gives::<Healthy>(r#"{"status":"ok","service":"orchestrator","version":"0.1.0","timestamp":"2031-03-04T05:06:07.000000Z"}"#)
        .gives_instead::<Unhealthy>(503)
        .also_on_state_address()
}

async fn health(State(app): State<App>, caller: Caller) -> Response {
    let service = app.service.as_str();
    match look(&app, &caller).await {
        Ok(seen) => Json(Healthy {
            status: "ok",
            service,
            version: seen.version,
            timestamp: seen.timestamp,
            database_status: (app.service == Service::StatePersistence)
                .then_some(seen.database_status),
        })
        .into_response(),
        Err(failure) => {
            let error = failure.error().clone();
            let body = Unhealthy {
                status: "unavailable",
                service,
                database_status: "disconnected",
                error,
            };
            (failure.status(), Json(body)).into_response()
        }
    }
}

/// The coordinator's own look at itself, when it is a good one.
pub(super) async fn look(app: &App, caller: &Caller) -> Result<HealthResponse, Failure> {
    let answer = app.coordinator.ask(verb::SYSTEM_HEALTH, &json!({}), caller).await?;
    let seen: HealthResponse = serde_json::from_slice(&answer).map_err(|error| {
        Failure::new(
            ErrorCode::CoordinatorUnavailable,
            format!("the coordinator's health cannot be read: {error}"),
        )
    })?;
    if seen.database_status == "connected" {
        return Ok(seen);
    }
    let detail = "the coordinator cannot reach PostgreSQL; its log says why";
    Err(Failure::away(ErrorCode::DatabaseUnavailable, "database", detail))
}
