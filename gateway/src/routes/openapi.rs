//! `GET /openapi.json`: this API, described.

use std::sync::LazyLock;

use axum::response::Response;

use crate::openapi::{Route, document};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(super) fn route() -> Route {
    Route::get("/openapi.json", openapi)
        .about("openapi", "This document.")
        .gives::<serde_json::Map<String, serde_json::Value>>("{}")
}

async fn openapi() -> Response {
    super::json(DOCUMENT.as_str())
}
