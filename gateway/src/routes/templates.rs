//! `GET /workflow/templates`: what can be run.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use sluice_proto::api::{TemplatesResponse, verb};

use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;

pub(super) fn route() -> Route {
    Route::get("/workflow/templates", templates)
        .about(
            "listTemplates",
            "Templates that can be run, and what is wrong with those that cannot.",
        )
        .gives::<TemplatesResponse>(include_str!("../../../proto/golden/templates_response.json"))
}

async fn templates(State(app): State<App>, caller: Caller) -> Result<Response, Failure> {
    app.coordinator.ask(verb::TEMPLATE_LIST, &json!({}), &caller).await.map(super::json)
}
