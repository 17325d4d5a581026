//! What happens around every handler: a name for the request, a place for it, the check of where it
//! comes from, and an answer even when the handler panics.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method, header};
use sluice_proto::error::ErrorCode;
use tracing::Instrument;

use crate::app::App;
use crate::failure::Failure;
use crate::metrics::Answered;
use crate::request_id::{self, RequestId};

/// The outermost layer.
pub(crate) async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let _under_way = app.metrics.begin();
    let id = RequestId::of(request.headers());
    let method = known_method(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!(
        "request",
        request.id = id.as_str(),
        http.method = method,
        http.route = route
    );

    let mut response = answer(&app, request, next, &id).instrument(span.clone()).await;

    let status = response.status();
    if status.is_server_error() {
        span.in_scope(|| tracing::warn!(http.status = status.as_u16(), "request failed"));
    }
    app.metrics.count(Answered { method, route, status: status.as_u16() }, started.elapsed());
    add_headers(response.headers_mut(), &id);
    response
}

async fn answer(app: &App, request: Request, next: Next, id: &RequestId) -> Response {
    let Ok(_slot) = app.slots.try_acquire() else {
        return Failure::new(
            ErrorCode::Overloaded,
            "too many requests are under way; try again soon",
        )
        .into_response();
    };
    if let Err(failure) = app.origins.check(request.uri(), request.headers()) {
        return failure.into_response();
    }
    survive(next.run(request), id).await
}

/// A handler that panics costs its own request and no other.
async fn survive(handler: impl Future<Output = Response>, id: &RequestId) -> Response {
    AssertUnwindSafe(handler).catch_unwind().await.unwrap_or_else(|_| {
        // The panic hook has printed where and why.
        let detail =
            format!("a defect of the gateway; its log tells more under request id {}", id.as_str());
        Failure::new(ErrorCode::Internal, detail).into_response()
    })
}

fn add_headers(headers: &mut HeaderMap, id: &RequestId) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(id) = id.to_header() {
        headers.insert(request_id::HEADER, id);
    }
}

/// A client may invent methods; a label may not.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered() {
        let mut headers = HeaderMap::new();
        headers.insert(request_id::HEADER, HeaderValue::from_static("build-7"));
        let response = survive(async { panic!("as planned") }, &RequestId::of(&headers)).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains("build-7"));
    }
}
