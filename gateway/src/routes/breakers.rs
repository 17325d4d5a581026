//! `GET /breakers`: circuit breakers about which there is something to say.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use sluice_proto::api::{BreakersResponse, verb};

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::get("/breakers", list)
        .about(
            "listBreakers",
            "Steps that failed for good in a row, and whether they are tried again.",
        )
        .gives::<BreakersResponse>(include_str!("../../../proto/golden/breakers_response.json"))
        .also_on_state_address()
}

async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Failure> {
    let answer = app.coordinator.ask(verb::BREAKER_LIST, &json!({}), &caller).await?;
    Ok(super::json(answer))
}
