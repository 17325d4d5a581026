//! A run's record as a document for people who sign.

use std::sync::Arc;

use sluice_proto::api::{VerifyResponse, WorkflowRequest, verb};
use sluice_proto::error::ErrorCode;
use sluice_proto::ids::WorkflowId;
use sluice_report::{Error, MAX_EVENTS};

use super::{events, export};
use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;

/// The report of a run.
pub(super) async fn report(
    app: &App,
    caller: &Caller,
    id: &WorkflowId,
) -> Result<Vec<u8>, Failure> {
    let _place = app.reports.try_acquire().map_err(|_| {
        Failure::new(
            ErrorCode::Overloaded,
            "too many reports are asked for already; try again later",
        )
    })?;
    // Before anything is read: whoever waits holds no record in memory.
    let permit = Arc::clone(&app.report_at_work).acquire_owned().await;
    let permit = permit.map_err(|_| failed("the gateway stops"))?;
    let request = WorkflowRequest { workflow_id: id.to_string() };
    let answer = app.coordinator.ask(verb::WORKFLOW_VERIFY, &request, caller).await?;
    let verification: VerifyResponse =
        serde_json::from_slice(&answer).map_err(|error| failed(&error.to_string()))?;
    let verified = usize::try_from(verification.verdict.events).unwrap_or(usize::MAX);
    if verified > MAX_EVENTS {
        return Err(refused(&Error::TooLarge(verified)));
    }
    let mut found = events::all(app, caller, id.as_str()).await?;
    if verification.valid {
        // A run that is under way has gone on in between; what came after is not what was verified.
        found.truncate(verified);
    }
    let record = found.iter().map(|event| export::value(event)).collect::<Result<Vec<_>, _>>()?;
    let template = app.report_template.clone();
    // It goes on when the client has left, and so does its permit.
    let making = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        sluice_report::pdf(&record, &verification, template.as_deref())
    });
    match making.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error @ (Error::TooLarge(_) | Error::Empty))) => Err(refused(&error)),
        Ok(Err(error @ Error::Template(_))) => Err(failed(&error.to_string())),
        Err(panic) => {
            tracing::error!(workflow_id = %id, error = %panic, "making a report has panicked");
            Err(failed("it cannot be made of this record"))
        }
    }
}

fn refused(error: &Error) -> Failure {
    Failure::new(ErrorCode::BadRequest, error.to_string())
}

fn failed(why: &str) -> Failure {
    Failure::new(
        ErrorCode::Internal,
        format!("no report: {why}; the record is there as json and as csv"),
    )
}
