//! `workflow.state_at` and `workflow.diff`: a run as it was at a moment, and what lies between two.
//!
//! A moment is compared as a moment, whatever its offset and its fraction. Clocks of coordinators may differ:
//! what counts is the order of the record, up to the first event that is later than the moment.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use sluice_engine::{Past, changes, current_step};
use sluice_proto::api::{
    DiffEvent, DiffRequest, DiffResponse, Place, StateAtRequest, StateAtResponse,
};
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::event::Event;
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;

use super::{Answer, decode, encode, workflow_id};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::record;
use crate::store::StoreError;

pub(super) async fn state_at(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: StateAtRequest = decode(body)?;
    let id = workflow_id(&request.workflow_id)?;
    let at = At::parse(&request.at)?;
    let events = history(shared, &id).await?;
    let events = at.cut(&events)?;
    let state = view(shared, &id, events).await?;
    let (timestamp, sequence) = (request.at, events.len() as u64);
    encode(&StateAtResponse { workflow_id: id, timestamp, sequence, state })
}

pub(super) async fn diff(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: DiffRequest = decode(body)?;
    let id = workflow_id(&request.workflow_id)?;
    let (from, to) = (At::parse(&request.from)?, At::parse(&request.to)?);
    let events = history(shared, &id).await?;
    let (first, second) = (from.cut(&events)?, to.cut(&events)?);
    if first.len() > second.len() {
        let detail = format!("'{}' is later than '{}'; turn them round", request.from, request.to);
        return Err(ApiError::new(ErrorCode::BadRequest, detail));
    }
    let before = view(shared, &id, first).await?;
    let after = view(shared, &id, second).await?;
    encode(&DiffResponse {
        from: place(&id, request.from, first),
        to: place(&id, request.to, second),
        changes: changes(&Value::Object(before), &Value::Object(after)),
        events: second[first.len()..].iter().map(in_short).collect(),
        workflow_id: id,
    })
}

/// A place in a history, as people name it.
#[derive(Debug, PartialEq, Eq)]
enum At {
    Moment(Timestamp),
    Number(u64),
}

impl At {
    fn parse(text: &str) -> Result<Self, ApiError> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        Timestamp::parse(text).map(Self::Moment).map_err(|error| {
            let detail = format!("{error}; or the number of an event");
            ApiError::new(ErrorCode::BadRequest, detail)
        })
    }

    /// The events up to there.
    fn cut<'e>(&self, events: &'e [Event]) -> Result<&'e [Event], ApiError> {
        let n = match self {
            Self::Moment(moment) => {
                events.iter().take_while(|event| event.timestamp <= *moment).count()
            }
            Self::Number(number) => usize::try_from(*number).unwrap_or(usize::MAX),
        };
        events.get(..n).ok_or_else(|| {
            let detail = format!("the run has {} events, and no number {n}", events.len());
            ApiError::new(ErrorCode::BadRequest, detail)
        })
    }
}

async fn history(shared: &Shared, id: &WorkflowId) -> Result<Vec<Event>, ApiError> {
    let found = record::find(&shared.pool, id).await.map_err(|error| api_error(&error))?;
    let (record, _) = found.ok_or_else(|| ApiError::workflow_not_found(id.as_str()))?;
    let read = |stored: &sluice_proto::verify::StoredEvent| {
        Event::read(&stored.body, stored.sequence).map_err(|error| {
            let number = stored.sequence;
            let detail = format!(
                "event {number} of {id} cannot be read: {error}; `sluice verify {id}` says what was done to the record"
            );
            ApiError::new(ErrorCode::Internal, detail)
        })
    };
    record.events.iter().map(read).collect()
}

async fn view(
    shared: &Shared,
    id: &WorkflowId,
    events: &[Event],
) -> Result<serde_json::Map<String, Value>, ApiError> {
    let past = Past::after(id.clone(), events);
    if events.is_empty() {
        return Ok(past.view(None));
    }
    let template = async {
        let mut connection = shared.pool.acquire().await?;
        let (file, sha256) = (&past.state().template_name, &past.state().template_sha256);
        shared.library.pinned(&mut connection, file, sha256).await
    };
    let template = template.await.map_err(|error: StoreError| api_error(&error))?;
    Ok(past.view(current_step(&template, past.state()).as_deref()))
}

fn place(id: &WorkflowId, asked: String, events: &[Event]) -> Place {
    Place {
        asked,
        sequence: events.len() as u64,
        timestamp: events.last().map(|event| event.timestamp),
        status: Past::after(id.clone(), events).state().status,
    }
}

fn in_short(event: &Event) -> DiffEvent {
    DiffEvent {
        sequence: event.sequence,
        timestamp: event.timestamp,
        action: event.body.action().to_owned(),
        step_id: event.step_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_moment_or_a_number() {
        let moment = |text| At::Moment(Timestamp::parse(text).unwrap());
        assert_eq!(At::parse("12").unwrap(), At::Number(12));
        assert_eq!(
            At::parse("2024-01-15T11:15:00.5+01:00").unwrap(),
            moment("2024-01-15T10:15:00.500Z")
        );
        for text in ["", "-1", "yesterday", "2024-01-15", "2024-01-15T10:15:00", "1e3"] {
            let error = At::parse(text).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadRequest, "{text}");
        }
    }
}
