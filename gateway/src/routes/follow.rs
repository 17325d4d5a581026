//! A run's history as server-sent events: what there is, then what comes.
//!
//! The feed only wakes: what is sent was read from the record, so nothing that the feed lost is missed, and
//! nothing is sent that was not committed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use sluice_bus::Subscription;
use sluice_proto::api::{EventsRequest, WorkflowRequest, verb};
use sluice_proto::error::ErrorCode;
use sluice_proto::operations::{WaitKind, WhyResponse};
use tokio::sync::OwnedSemaphorePermit;

use super::events::Page;
use crate::app::App;
use crate::caller::Caller;
use crate::failure::Failure;

/// A comment is sent after this long without an event, so that nobody in between takes the silence for the
/// end; and the record is looked at, whatever the feed says.
const SILENCE: Duration = Duration::from_secs(10);
/// How soon a coordinator that is away is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row after which the client is left to come back.
const MAX_FAILURES: u32 = 30;
/// Events read at once.
const PAGE: u32 = 200;

/// One reader of one run.
struct Follower {
    app: App,
    caller: Caller,
    request: EventsRequest,
    feed: Option<Subscription>,
    pending: VecDeque<Box<RawValue>>,
    /// Failures in a row.
    failures: u32,
    over: bool,
    _place: OwnedSemaphorePermit,
}

/// Answers with the stream; what is wrong with the request is found before it begins.
pub(super) async fn start(
    app: App,
    caller: Caller,
    mut request: EventsRequest,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    if let Some(last) = headers.get("last-event-id") {
        let number = last.to_str().ok().and_then(|text| text.trim().parse().ok());
        request.after = Some(number.ok_or_else(|| {
            Failure::field("Last-Event-ID", "is no number of an event, which is what ids are here")
        })?);
    }
    let place = app.followers.clone().try_acquire_owned().map_err(|_| {
        Failure::new(ErrorCode::Overloaded, "too many runs are followed already; try again later")
    })?;
    request.limit = Some(PAGE);
    // Before the first look, so that nothing can come between the two.
    let feed = app.coordinator.feed(&request.workflow_id).await;
    let mut follower = Follower {
        app,
        caller,
        request,
        feed,
        pending: VecDeque::new(),
        failures: 0,
        over: false,
        _place: place,
    };
    follower.read().await?;
    let chunks = stream::unfold(follower, |mut follower| async move {
        let chunk = follower.next().await?;
        Some((Ok::<_, Infallible>(chunk), follower))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

impl Follower {
    /// What is sent next; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(told(&event));
            }
            if self.over || self.app.stopping.is_cancelled() || self.failures > MAX_FAILURES {
                return None;
            }
            match self.look().await {
                Ok(Some(end)) => {
                    self.over = true;
                    return Some(end);
                }
                Ok(None) => self.failures = 0,
                Err(_) => {
                    self.failures += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if self.pending.is_empty() && !self.woken().await {
                return Some(Bytes::from_static(b": nothing new\n\n"));
            }
        }
    }

    /// Reads on; the last word when the run has ended and nothing is under way any more.
    async fn look(&mut self) -> Result<Option<Bytes>, Failure> {
        self.read().await?;
        if !self.pending.is_empty() {
            return Ok(None);
        }
        let run = WorkflowRequest { workflow_id: self.request.workflow_id.clone() };
        let answer = self.app.coordinator.ask(verb::WORKFLOW_WHY, &run, &self.caller).await?;
        let why: WhyResponse = serde_json::from_slice(&answer)
            .map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))?;
        if !why.status.is_terminal() || why.waits.iter().any(|wait| wait.kind != WaitKind::Ended) {
            return Ok(None);
        }
        // What was written between the two looks comes first.
        self.read().await?;
        let end = format!("event: end\ndata: {}\n\n", json!({"status": why.status}));
        Ok(self.pending.is_empty().then(|| end.into()))
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let asking = self.app.coordinator.ask(verb::WORKFLOW_EVENTS, &self.request, &self.caller);
        let page = Page::read(&asking.await?)?;
        if let Some(last) = page.events.last() {
            self.request.after = number(last).or(self.request.after);
            self.request.offset = None;
        }
        self.pending.extend(page.events);
        Ok(())
    }

    /// Waits for the feed, and no longer than a silence may last.
    async fn woken(&mut self) -> bool {
        let stopping = self.app.stopping.clone();
        let feed = async {
            match &mut self.feed {
                Some(feed) => feed.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            is_open = feed => {
                if !is_open {
                    self.feed = None;
                }
                is_open
            }
            () = tokio::time::sleep(SILENCE) => false,
            () = stopping.cancelled() => true,
        }
    }
}

#[derive(Deserialize)]
struct Head {
    sequence: Option<u64>,
    action: Option<String>,
}

fn number(event: &RawValue) -> Option<u64> {
    serde_json::from_str::<Head>(event.get()).ok()?.sequence
}

/// One event as the client's library reads it. Line ends within JSON are white space.
fn told(event: &RawValue) -> Bytes {
    let head = serde_json::from_str::<Head>(event.get()).ok();
    let id = head.as_ref().and_then(|head| head.sequence).map(|id| format!("id: {id}\n"));
    let action = head.and_then(|head| head.action).filter(|action| !action.contains(['\n', '\r']));
    let data = event.get().replace(['\n', '\r'], " ");
    let action = action.unwrap_or_else(|| "unreadable".to_owned());
    format!("{}event: {action}\ndata: {data}\n\n", id.unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_with_its_number() {
        let event = RawValue::from_string(
            "{\"action\":\"notify\",\n\"sequence\":7,\"data\":\"a\\nb\"}".to_owned(),
        );
        let told = told(&event.unwrap());
        let expected = "id: 7\nevent: notify\ndata: {\"action\":\"notify\", \"sequence\":7,\"data\":\"a\\nb\"}\n\n";
        assert_eq!(told, expected);
    }
}
