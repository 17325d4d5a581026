//! `GET /workers`: who is there, and what they hold.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use sluice_proto::api::verb;
use sluice_proto::operations::WorkersResponse;

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::get("/workers", workers)
        .about(
            "listWorkers",
            "Workers by name: whether they are there, the agents they run, what they hold and since when.",
        )
        .gives::<WorkersResponse>(include_str!("../../../proto/golden/workers_response.json"))
        .also_on_state_address()
}

async fn workers(State(app): State<App>, caller: Caller) -> Result<Response, Failure> {
    app.coordinator.ask(verb::WORKER_LIST, &json!({}), &caller).await.map(super::json)
}
