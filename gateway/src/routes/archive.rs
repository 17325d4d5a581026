//! `GET /workflows/ended` and `POST /workflows/archive`.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use sluice_proto::api::{
    ArchiveRequest, ArchiveResponse, EndedCursor, EndedRequest, EndedResponse, verb,
};
use sluice_proto::error::ErrorCode;

use crate::app::App;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;
use crate::query;

pub(super) fn ended_route() -> Route {
    Route::get("/workflows/ended", ended)
        .about(
            "listEndedWorkflows",
            "Runs that ended, or went into the archive, lately: the first first, a page at a time. For audits.",
        )
        .query::<u32>("days", "In so many days up to now; 7 unless said.")
        .query::<bool>("archived", "Those that went into the archive then.")
        .query::<String>("after_at", "Moment of the last run of the former page, its `next.at`.")
        .query::<String>("after_id", "That run, its `next.workflow_id`.")
        .gives::<EndedResponse>(include_str!("../../../proto/golden/ended_response.json"))
        .fails(&[ErrorCode::InvalidBody])
        .also_on_state_address()
}

async fn ended(
    State(app): State<App>,
    caller: Caller,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let request = read(raw.as_deref().unwrap_or_default())?;
    app.coordinator.ask(verb::WORKFLOW_ENDED, &request, &caller).await.map(super::json)
}

fn read(raw: &str) -> Result<EndedRequest, Failure> {
    let (mut days, mut archived, mut at, mut id) = (None, None, None, None);
    for (name, value) in query::pairs(raw)? {
        match name.as_str() {
            "days" => query::once(&mut days, &name, query::number(&name, &value)?)?,
            "archived" => query::once(&mut archived, &name, query::truth(&name, &value)?)?,
            "after_at" => query::once(&mut at, &name, query::moment(&name, &value)?)?,
            "after_id" => query::once(&mut id, &name, value)?,
            _ => {}
        }
    }
    let usual = EndedRequest::default();
    let after = match (at, id) {
        (Some(at), Some(workflow_id)) => Some(EndedCursor { at, workflow_id }),
        (None, None) => None,
        _ => return Err(Failure::field("after_at", "goes with after_id: both, or neither")),
    };
    Ok(EndedRequest {
        days: days.unwrap_or(usual.days),
        archived: archived.unwrap_or(usual.archived),
        after,
    })
}

pub(super) fn archive_route() -> Route {
    Route::post("/workflows/archive", archive)
        .about(
            "archiveWorkflows",
            "Move the events of runs that ended long ago into the archive, where everything still finds them. \
             One answer covers a few seconds' work: ask again while it says that there is more.",
        )
        .takes::<ArchiveRequest>(include_str!("../../../proto/golden/archive_request.json"))
        .gives::<ArchiveResponse>(include_str!("../../../proto/golden/archive_response.json"))
        .fails(&[ErrorCode::InvalidBody])
}

async fn archive(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Failure> {
    let request: ArchiveRequest = body.read()?;
    app.coordinator.ask(verb::WORKFLOW_ARCHIVE, &request, &caller).await.map(super::json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_query() {
        assert_eq!(read("").unwrap(), EndedRequest::default());
        let asked = read("days=30&archived=true&after_at=2031-03-04T05:06:07Z&after_id=x").unwrap();
        assert_eq!((asked.days, asked.archived), (30, true));
        assert_eq!(asked.after.unwrap().workflow_id, "x");
        for raw in ["days=-1", "archived=perhaps", "after_id=x", "days=1&days=2"] {
            assert!(read(raw).is_err(), "{raw}");
        }
    }
}
