//! The API: one endpoint a verb of a NATS micro service, one file a verb.

mod annotate;
mod archive;
mod breakers;
mod cancel;
mod dead_letters;
mod events;
mod execute;
mod health;
mod list;
mod locks;
mod metrics;
mod past;
mod pause;
mod replay;
mod resume;
mod retry;
mod snapshots;
mod status;
mod templates;
mod verify;
mod why;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_bus::{ApiRequest, ApiService, BusError};
use sluice_proto::api::verb;
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::ids::WorkflowId;
use sluice_proto::operations::DeadLetterStatus;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::coordinator::Shared;
use crate::intake::{Item, ReplyTo, Work};

/// Every verb, in the order of their names.
pub(crate) const VERBS: &[&str] = &[
    verb::DEAD_LETTER_DROP,
    verb::DEAD_LETTER_LIST,
    verb::DEAD_LETTER_REDRIVE,
    verb::DEAD_LETTER_SHOW,
    verb::BREAKER_LIST,
    verb::LOCK_LIST,
    verb::LOCK_RELEASE,
    verb::SYSTEM_HEALTH,
    verb::SYSTEM_METRICS,
    verb::TEMPLATE_LIST,
    verb::TEMPLATE_VALIDATE,
    verb::WORKER_LIST,
    verb::WORKFLOW_ANNOTATE,
    verb::WORKFLOW_ARCHIVE,
    verb::WORKFLOW_CANCEL,
    verb::WORKFLOW_DIFF,
    verb::WORKFLOW_ENDED,
    verb::WORKFLOW_EVENTS,
    verb::WORKFLOW_EXECUTE,
    verb::WORKFLOW_LIST,
    verb::WORKFLOW_PAUSE,
    verb::WORKFLOW_REPLAY,
    verb::WORKFLOW_RESUME,
    verb::WORKFLOW_RETRY,
    verb::WORKFLOW_SNAPSHOTS,
    verb::WORKFLOW_STATE,
    verb::WORKFLOW_STATE_AT,
    verb::WORKFLOW_STATUS,
    verb::WORKFLOW_UNPAUSE,
    verb::WORKFLOW_VERIFY,
    verb::WORKFLOW_WHY,
];

/// Requests worked on at once; the next ones are told to come back.
const MAX_REQUESTS: usize = 2_048;
/// Longest wait for the intake.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// What a verb answers.
pub(crate) type Answer = Result<Bytes, ApiError>;

/// Registers the service.
pub(crate) async fn serve(shared: &Shared) -> Result<ApiService, BusError> {
    shared.bus.api_service(env!("CARGO_PKG_VERSION"), VERBS).await
}

/// Answers requests until told to stop; those that had arrived are still answered.
pub(crate) async fn run(shared: Arc<Shared>, mut service: ApiService, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_REQUESTS));
    let mut open = JoinSet::new();
    loop {
        let request = tokio::select! {
            request = service.next() => request,
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
        };
        let Some(request) = request else { break };
        match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => {
                let shared = Arc::clone(&shared);
                open.spawn(async move {
                    answer(&shared, request).await;
                    drop(permit);
                });
            }
            Err(_) => refuse(request).await,
        }
    }
    service.stop().await;
    let arrived = async {
        while let Some(request) = service.next().await {
            answer(&shared, request).await;
        }
    };
    if tokio::time::timeout(ANSWER_TIMEOUT, arrived).await.is_err() {
        tracing::debug!("NATS was away at the end; who had asked asks again");
    }
    while open.join_next().await.is_some() {}
}

async fn refuse(request: ApiRequest) {
    let busy =
        ApiError::new(ErrorCode::Overloaded, "the coordinator is behind; try again in a second");
    if let Err(error) = request.respond_error(&busy).await {
        tracing::debug!(%error, "a caller could not be answered");
    }
}

/// A coordinator that was frozen finds what it was asked long ago. Whoever asked was told that nobody answers,
/// and has perhaps asked again.
fn overdue(verb: &str) -> ApiError {
    tracing::warn!(verb, "a request was not carried out: nobody waits for its answer any more");
    ApiError::new(
        ErrorCode::CoordinatorUnavailable,
        "the request came too late and was not carried out; do the clocks of gateway and coordinator agree?",
    )
}

/// An answer that a message holds.
fn fitting(shared: &Shared, answer: Answer) -> Answer {
    match answer {
        Ok(body) if body.len() > shared.bus.max_payload() => Err(ApiError::new(
            ErrorCode::BodyTooLarge,
            format!("the answer has {} bytes, more than a message holds; ask for less", body.len()),
        )),
        answer => answer,
    }
}

async fn answer(shared: &Arc<Shared>, request: ApiRequest) {
    let verb = request.verb.clone();
    let result = if request.is_overdue() {
        Err(overdue(&verb))
    } else {
        fitting(shared, handle(shared, &verb, &request.payload, None).await)
    };
    let sent = match result {
        Ok(body) => request.respond_ok(body).await,
        Err(error) => request.respond_error(&error).await,
    };
    if let Err(error) = sent {
        tracing::warn!(verb, %error, "a caller could not be answered");
    }
}

/// Does what a verb says. `request_id` names a request whose body does not.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    verb: &str,
    body: &Bytes,
    request_id: Option<String>,
) -> Answer {
    match verb {
        verb::DEAD_LETTER_DROP => dead_letters::act(shared, body, DeadLetterStatus::Dropped).await,
        verb::DEAD_LETTER_LIST => dead_letters::list(shared, body).await,
        verb::DEAD_LETTER_REDRIVE => {
            dead_letters::act(shared, body, DeadLetterStatus::Redriven).await
        }
        verb::DEAD_LETTER_SHOW => dead_letters::show(shared, body).await,
        verb::LOCK_LIST => locks::list(shared).await,
        verb::LOCK_RELEASE => locks::release(shared, body, request_id).await,
        verb::BREAKER_LIST => breakers::list(shared).await,
        verb::SYSTEM_HEALTH => health::handle(shared).await,
        verb::SYSTEM_METRICS => metrics::handle(shared),
        verb::TEMPLATE_LIST => templates::list(shared),
        verb::TEMPLATE_VALIDATE => templates::validate(body),
        verb::WORKER_LIST => workers::list(shared).await,
        verb::WORKFLOW_EVENTS => events::handle(shared, body).await,
        verb::WORKFLOW_ANNOTATE => annotate::handle(shared, body, request_id).await,
        verb::WORKFLOW_DIFF => past::diff(shared, body).await,
        verb::WORKFLOW_REPLAY => replay::handle(shared, body).await,
        verb::WORKFLOW_SNAPSHOTS => snapshots::handle(shared, body).await,
        verb::WORKFLOW_STATE_AT => past::state_at(shared, body).await,
        verb::WORKFLOW_VERIFY => verify::handle(shared, body).await,
        verb::WORKFLOW_ARCHIVE => archive::archive(shared, body).await,
        verb::WORKFLOW_ENDED => archive::ended(shared, body).await,
        verb::WORKFLOW_CANCEL => cancel::handle(shared, body, request_id).await,
        verb::WORKFLOW_EXECUTE => execute::handle(shared, body, request_id).await,
        verb::WORKFLOW_LIST => list::handle(shared, body).await,
        verb::WORKFLOW_RESUME => resume::handle(shared, body, request_id).await,
        verb::WORKFLOW_PAUSE => pause::pause(shared, body, request_id).await,
        verb::WORKFLOW_UNPAUSE => pause::unpause(shared, body, request_id).await,
        verb::WORKFLOW_RETRY => retry::handle(shared, body, request_id).await,
        verb::WORKFLOW_STATE => status::state(shared, body).await,
        verb::WORKFLOW_STATUS => status::status(shared, body).await,
        verb::WORKFLOW_WHY => why::handle(shared, body).await,
        other => Err(ApiError::new(ErrorCode::RouteNotFound, format!("no verb '{other}'"))),
    }
}

/// Reads a body; an empty one is an empty object.
fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        // serde names the field between back-quotes, if it can.
        let field = text.split('`').nth(1).unwrap_or("body").to_owned();
        ApiError::field(field, text)
    })
}

fn encode(body: &impl Serialize) -> Answer {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        ApiError::new(ErrorCode::Internal, "the answer cannot be written as JSON")
    })
}

/// Longest text a person may give, characters.
const MAX_TEXT_CHARS: usize = 4_000;

/// Empty means not given; what cannot be recorded is refused.
fn text(field: &str, value: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(value) = value.filter(|value| !value.trim().is_empty()) else { return Ok(None) };
    if value.contains('\0') || value.chars().count() > MAX_TEXT_CHARS {
        let message = format!("must have at most {MAX_TEXT_CHARS} characters and no NUL");
        return Err(ApiError::field(field, message));
    }
    Ok(Some(value))
}

fn workflow_id(text: &str) -> Result<WorkflowId, ApiError> {
    // Whatever is no id cannot be the id of a run.
    WorkflowId::parse(text).map_err(|_| ApiError::workflow_not_found(text))
}

/// Hands an input to the intake and waits for what became of it.
async fn submit(shared: &Shared, workflow_id: WorkflowId, work: Work) -> Answer {
    let (caller, answer) = tokio::sync::oneshot::channel();
    let item = Item { workflow_id, work, reply_to: ReplyTo::Caller(caller) };
    let waiting = async {
        shared.intake.submit(item).await;
        answer.await
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, waiting).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(ApiError::new(
            ErrorCode::CoordinatorUnavailable,
            "the coordinator is stopping; nothing was changed, try again",
        )),
        Err(_) if shared.intake.is_database_away() => Err(ApiError::new(
            ErrorCode::DatabaseUnavailable,
            "PostgreSQL does not answer; the request may still take effect, so look before you repeat it",
        )),
        Err(_) => Err(ApiError::new(
            ErrorCode::CoordinatorUnavailable,
            "no answer in time; the request may still take effect, so look before you repeat it",
        )),
    }
}
