//! What a request that fails is answered with: always `{"detail", "code", "errors"}`. Every error of
//! this crate that a client can see goes through here.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use sluice_proto::error::{ApiError, ErrorCode, FieldError};

/// An [`ApiError`] on its way out.
#[derive(Debug)]
pub(crate) struct Failure(ApiError);

impl Failure {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(ApiError::new(code, detail))
    }

    /// 422 for one field.
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self(ApiError::field(field, message))
    }

    /// 503 that names what is away.
    pub(crate) fn away(code: ErrorCode, what: &str, detail: impl Into<String>) -> Self {
        let mut error = ApiError::new(code, detail);
        let message = "does not answer".to_owned();
        error.errors.push(FieldError { field: what.to_owned(), message });
        Self(error)
    }

    pub(crate) fn error(&self) -> &ApiError {
        &self.0
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        Self::new(ErrorCode::BadRequest, rejection.body_text())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self.0)).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

pub(crate) async fn unknown_route(method: Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("no route {method} {path}; GET /openapi.json lists those there are");
    Failure::new(ErrorCode::RouteNotFound, detail)
}

pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("{path} does not answer {method}; the Allow header says what it answers");
    Failure::new(ErrorCode::MethodNotAllowed, detail)
}
