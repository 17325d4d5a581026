//! `GET /metrics`: the gateway's counters and the coordinator's.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::json;
use sluice_proto::api::verb;

use crate::app::App;
use crate::caller::Caller;
use crate::metrics::family;
use crate::openapi::Route;

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn route() -> Route {
    Route::get("/metrics", metrics)
        .about(
            "metrics",
            "Counters of the gateway and of the coordinator that answers, as Prometheus text.",
        )
        .gives_text()
}

/// An absent coordinator is a measurement, not a failure: the gateway's own counters are wanted then
/// more than ever.
async fn metrics(State(app): State<App>, caller: Caller) -> Response {
    let theirs = app.coordinator.ask(verb::SYSTEM_METRICS, &json!({}), &caller).await.ok();
    let mut text = app.metrics.text();
    family(&mut text, "sluice_gateway_coordinator_up", "gauge", "Whether a coordinator answered.");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "sluice_gateway_coordinator_up {}", u8::from(theirs.is_some()));
    if let Some(theirs) = theirs {
        text.push_str(&String::from_utf8_lossy(&theirs));
    }
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response()
}
