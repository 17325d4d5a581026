//! `GET /dead-letters`, `GET /dead-letters/{id}`, `POST /dead-letters/{id}/redrive` and `/drop`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use sluice_proto::api::verb;
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::operations::{
    DeadLetterActRequest, DeadLetterRequest, DeadLetterStatus, DeadLetterView, DeadLettersRequest,
    DeadLettersResponse,
};

use crate::app::App;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;
use crate::query;

const VIEW: &str = include_str!("../../../proto/golden/dead_letter_view.json");

pub(super) fn list_route() -> Route {
    Route::get("/dead-letters", list)
        .about(
            "listDeadLetters",
            "Messages that could not be processed, newest first: those that wait for somebody, or those looked after.",
        )
        .query::<DeadLetterStatus>("status", "Only these; waiting when absent.")
        .query::<u32>("limit", "At most this many, up to 1,000; 100 when absent.")
        .query::<u32>("before", "Only those older than this one.")
        .gives::<DeadLettersResponse>(include_str!("../../../proto/golden/dead_letters_response.json"))
        .fails(&[ErrorCode::InvalidBody])
        .also_on_state_address()
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let mut request = DeadLettersRequest::default();
    for (name, value) in query::pairs(raw.as_deref().unwrap_or_default())? {
        match name.as_str() {
            "status" => query::once(&mut request.status, &name, status(&value)?)?,
            "limit" => query::once(&mut request.limit, &name, query::number(&name, &value)?)?,
            "before" => {
                query::once(
                    &mut request.before,
                    &name,
                    query::number::<u32>(&name, &value)?.into(),
                )?;
            }
            _ => {}
        }
    }
    app.coordinator.ask(verb::DEAD_LETTER_LIST, &request, &caller).await.map(super::json)
}

fn status(text: &str) -> Result<DeadLetterStatus, Failure> {
    serde_json::from_value(text.into()).map_err(|_| {
        let shown = query::shown(text);
        Failure::field("status", format!("'{shown}' is none of waiting, redriven and dropped"))
    })
}

pub(super) fn show_route() -> Route {
    Route::get("/dead-letters/{id}", show)
        .about(
            "showDeadLetter",
            "One of them, with the beginning of its payload and what was done about it.",
        )
        .gives::<DeadLetterView>(VIEW)
        .fails(&[ErrorCode::DeadLetterNotFound])
        .also_on_state_address()
}

async fn show(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let request = DeadLetterRequest { dead_letter_id: number(&id?.0)? };
    app.coordinator.ask(verb::DEAD_LETTER_SHOW, &request, &caller).await.map(super::json)
}

pub(super) fn redrive_route() -> Route {
    let route = Route::post("/dead-letters/{id}/redrive", redrive);
    acting(route.about("redriveDeadLetter", "Send it again where it came from."))
}

pub(super) fn drop_route() -> Route {
    let route = Route::post("/dead-letters/{id}/drop", drop_letter);
    acting(route.about("dropDeadLetter", "Decide that nothing more comes of it."))
}

fn acting(route: Route) -> Route {
    route
        .takes::<DeadLetterActRequest>(include_str!(
            "../../../proto/golden/dead_letter_act_request.json"
        ))
        .gives::<DeadLetterView>(VIEW)
        .fails(&[ErrorCode::DeadLetterNotFound, ErrorCode::AlreadyDecided, ErrorCode::InvalidBody])
}

async fn redrive(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: JsonBody,
) -> Result<Response, Failure> {
    act(&app, &caller, verb::DEAD_LETTER_REDRIVE, &id?.0, &body).await
}

async fn drop_letter(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: JsonBody,
) -> Result<Response, Failure> {
    act(&app, &caller, verb::DEAD_LETTER_DROP, &id?.0, &body).await
}

async fn act(
    app: &App,
    caller: &Caller,
    verb: &str,
    id: &str,
    body: &JsonBody,
) -> Result<Response, Failure> {
    let mut request: DeadLetterActRequest = body.read()?;
    request.dead_letter_id = number(id)?;
    app.coordinator.ask(verb, &request, caller).await.map(super::json)
}

/// Text that is no number names no letter.
fn number(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| {
        let detail = format!("no dead letter '{}'", query::shown(text));
        ApiError::new(ErrorCode::DeadLetterNotFound, detail).into()
    })
}
