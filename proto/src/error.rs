//! The error shape of every API: `{"detail", "code", "errors"}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Body of a failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{detail}")]
pub struct ApiError {
    /// For people: what, where, and what to do next.
    pub detail: String,
    /// For programs.
    pub code: ErrorCode,
    /// One entry a problem, when there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One problem of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// Field of the body, or `file:line:column` of a template.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// Stable codes. The HTTP status follows from the code.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: a template name with a path in it.
    InvalidTemplateName,
    /// 400: a decision that is neither `approved` nor `rejected`.
    InvalidDecision,
    /// 400: the run is not paused.
    NotPaused,
    /// 400: the run has ended, or is being cancelled.
    NotCancellable,
    /// 400: the run has ended, or is held up already.
    NotPausable,
    /// 400: the run has not failed, the step was never reached, or its retries are used up.
    NotRetryable,
    /// 400: the run that is to be the parent has too many runs above it, or is cancelled.
    NotAParent,
    /// 400: any other request that cannot be right.
    BadRequest,
    /// 403: the Host or Origin is not ours.
    ForbiddenOrigin,
    /// 403: this person may not decide this.
    Forbidden,
    /// 404: no such run.
    WorkflowNotFound,
    /// 404: the run's template has no such step.
    StepNotFound,
    /// 404: no such template.
    TemplateNotFound,
    /// 404: nobody holds such a lock.
    LockNotHeld,
    /// 404: the run has no such event.
    EventNotFound,
    /// 404: no such dead letter.
    DeadLetterNotFound,
    /// 404: no such route.
    RouteNotFound,
    /// 405: the route has other methods.
    MethodNotAllowed,
    /// 409: the id is in use.
    WorkflowIdTaken,
    /// 409: decided already, decided by the same person, or another approval than the pending one.
    AlreadyDecided,
    /// 413: more than the server takes.
    BodyTooLarge,
    /// 415: a body that is not `application/json`.
    UnsupportedMediaType,
    /// 422: a missing or ill-typed field.
    InvalidBody,
    /// 422: the template has errors; `errors` lists them.
    InvalidTemplate,
    /// 429: nothing was begun, come back later.
    Overloaded,
    /// 503: PostgreSQL does not answer.
    DatabaseUnavailable,
    /// 503: NATS does not answer.
    NatsUnavailable,
    /// 503: no coordinator answers.
    CoordinatorUnavailable,
    /// 500: a defect; the request id leads to the log.
    Internal,
}

impl ErrorCode {
    /// HTTP status of a response with this code.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidTemplateName
            | Self::InvalidDecision
            | Self::NotPaused
            | Self::NotCancellable
            | Self::NotRetryable
            | Self::NotPausable
            | Self::NotAParent
            | Self::BadRequest => 400,
            Self::ForbiddenOrigin | Self::Forbidden => 403,
            Self::WorkflowNotFound
            | Self::StepNotFound
            | Self::TemplateNotFound
            | Self::LockNotHeld
            | Self::EventNotFound
            | Self::DeadLetterNotFound
            | Self::RouteNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::WorkflowIdTaken | Self::AlreadyDecided => 409,
            Self::BodyTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidBody | Self::InvalidTemplate => 422,
            Self::Overloaded => 429,
            Self::Internal => 500,
            Self::DatabaseUnavailable | Self::NatsUnavailable | Self::CoordinatorUnavailable => 503,
        }
    }
}

impl ApiError {
    /// An error with this code and text.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), code, errors: Vec::new() }
    }

    /// 422 for one field of a body.
    #[must_use]
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        Self {
            detail: format!("{field}: {message}"),
            code: ErrorCode::InvalidBody,
            errors: vec![FieldError { field, message }],
        }
    }

    /// 404 for a run.
    #[must_use]
    pub fn workflow_not_found(id: &str) -> Self {
        let shown: String = id.chars().take(80).collect();
        Self::new(
            ErrorCode::WorkflowNotFound,
            format!("no workflow '{shown}'; `sluice list` shows those there are"),
        )
    }
}
