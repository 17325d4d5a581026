//! `GET /workflow/{id}/events/export`: a run's whole record as a file.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::Value;
use serde_json::value::RawValue;
use sluice_proto::api::EventRecord;
use sluice_proto::error::ErrorCode;

use super::{csv, events, pdf};
use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::openapi::Route;
use crate::query;

pub(super) fn route() -> Route {
    Route::get("/workflow/{id}/events/export", export)
        .about(
            "exportEvents",
            "The whole record of a run as a file: every event as it is stored, with its signature.",
        )
        .query::<String>("format", "json (default), which `sluice verify` reads, csv, or pdf: a report with the verdict of a verification.")
        .gives_array_of::<EventRecord>()
        .fails(&[ErrorCode::BadRequest, ErrorCode::InvalidBody, ErrorCode::WorkflowNotFound])
        .also_on_state_address()
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Csv,
    Pdf,
}

async fn export(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let id = super::workflow_id(&id?.0)?;
    let format = read(raw.as_deref().unwrap_or_default())?;
    let (body, media_type, extension) = match format {
        Format::Json => {
            let found = events::all(&app, &caller, id.as_str()).await?;
            (json(&found)?.into_bytes(), "application/json", "json")
        }
        Format::Csv => {
            let found = events::all(&app, &caller, id.as_str()).await?;
            (csv::table(&found)?.into_bytes(), "text/csv; charset=utf-8", "csv")
        }
        Format::Pdf => (pdf::report(&app, &caller, &id).await?, "application/pdf", "pdf"),
    };
    let disposition = format!("attachment; filename=\"workflow-events-{id}.{extension}\"");
    let headers =
        [(header::CONTENT_TYPE, media_type), (header::CONTENT_DISPOSITION, &*disposition)];
    Ok((headers, body).into_response())
}

fn read(raw: &str) -> Result<Format, Failure> {
    let mut format = None;
    for (name, value) in query::pairs(raw)? {
        if name == "format" {
            query::once(&mut format, &name, value)?;
        }
    }
    match format.as_deref().unwrap_or("json") {
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        "pdf" => Ok(Format::Pdf),
        other => {
            let detail = format!("no format '{}'; expected json, csv or pdf", query::shown(other));
            Err(Failure::new(ErrorCode::BadRequest, detail))
        }
    }
}

/// An indented array, its keys sorted.
fn json(events: &[Box<RawValue>]) -> Result<String, Failure> {
    let sorted = events.iter().map(|event| value(event)).collect::<Result<Vec<Value>, _>>()?;
    let mut text = serde_json::to_string_pretty(&sorted).map_err(|error| unreadable(&error))?;
    text.push('\n');
    Ok(text)
}

pub(super) fn value(event: &RawValue) -> Result<Value, Failure> {
    let mut value: Value = serde_json::from_str(event.get()).map_err(|error| unreadable(&error))?;
    value.sort_all_objects();
    Ok(value)
}

pub(super) fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::new(ErrorCode::Internal, format!("an event cannot be written: {error}"))
}
