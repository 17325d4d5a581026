//! What JetStream says about messages that it delivers no more, and sending messages again.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_nats::Subscriber;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::RawMessageErrorKind;
use bytes::Bytes;
use futures::stream::{SelectAll, select_all};
use futures::{Stream, StreamExt};
use serde::Deserialize;
use tokio::time::Instant;

use crate::connection::Bus;
use crate::error::BusError;
use crate::step::{ACK_TIMEOUT, Published, message, stored};
use crate::topology::StreamKind;

/// The server's word for a delivery whose message is no longer in the stream: nobody refused it.
const ALREADY_GONE: &str = "Unacknowledged message was deleted";

/// Why a message is delivered no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It was delivered as often as allowed. It lies in its stream still.
    TooOften,
    /// A reader said that nobody can process it. It is gone from its stream.
    Terminated,
}

/// JetStream delivers a message no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advisory {
    /// Why.
    pub given_up: GivenUp,
    /// Stream of the message.
    pub stream: String,
    /// Consumer that gave it up.
    pub consumer: String,
    /// Place of the message in the stream.
    pub stream_sequence: u64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// What the reader said, if it said anything.
    pub reason: Option<String>,
}

/// A message as it lies in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LyingMessage {
    /// Where it was published.
    pub subject: String,
    /// Its body.
    pub payload: Bytes,
}

#[derive(Deserialize)]
struct Told {
    r#type: String,
    stream: String,
    consumer: String,
    stream_seq: u64,
    #[serde(default)]
    deliveries: u64,
    #[serde(default)]
    reason: Option<String>,
}

impl Bus {
    /// Advisories about step and API commands, shared with everybody who listens under the same `queue`.
    /// Nobody keeps them: what is told while nobody listens is never told again.
    ///
    /// # Errors
    /// The queue towards a lost server is full.
    pub async fn advisories(&self, queue: &str) -> Result<Advisories, BusError> {
        let mut subscribers = Vec::new();
        for kind in [StreamKind::Steps, StreamKind::Commands] {
            let stream = kind.name(self.subjects());
            let pattern = format!("$JS.EVENT.ADVISORY.CONSUMER.*.{stream}.*");
            let subscribing = self.inner.client.queue_subscribe(pattern, queue.to_owned());
            subscribers.push(self.in_time(subscribing).await?);
        }
        Ok(Advisories(select_all(subscribers)))
    }

    /// The message that an advisory is about, if it lies in its stream.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn lying_message(
        &self,
        advisory: &Advisory,
    ) -> Result<Option<LyingMessage>, BusError> {
        let failed =
            |error: &dyn std::fmt::Display| BusError::jetstream("reading a message", error);
        let stream = self.inner.jetstream.get_stream_no_info(&advisory.stream).await;
        let stream = stream.map_err(|error| failed(&error))?;
        match stream.get_raw_message(advisory.stream_sequence).await {
            Ok(message) => Ok(Some(LyingMessage {
                subject: message.subject.into_string(),
                payload: message.payload,
            })),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(e)
                    if e.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(failed(&error)),
            },
        }
    }

    /// Takes the message that an advisory is about out of its stream: nobody gets it any more.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn remove_message(&self, advisory: &Advisory) -> Result<(), BusError> {
        let failed =
            |error: &dyn std::fmt::Display| BusError::jetstream("removing a message", error);
        let stream = self.inner.jetstream.get_stream_no_info(&advisory.stream).await;
        let stream = stream.map_err(|error| failed(&error))?;
        stream.delete_message(advisory.stream_sequence).await.map_err(|error| failed(&error))?;
        Ok(())
    }

    /// Sends a step or API command again. Repeated under the same `message_id` within two minutes it is
    /// stored once.
    ///
    /// # Errors
    /// A subject that is neither, or the server did not confirm that it has it.
    pub async fn redrive(
        &self,
        subject: &str,
        body: Bytes,
        message_id: &str,
    ) -> Result<Published, BusError> {
        let starts = |all: String| subject.starts_with(all.trim_end_matches('>'));
        let kind =
            match (starts(self.subjects().all_steps()), starts(self.subjects().all_commands())) {
                (true, _) => StreamKind::Steps,
                (_, true) => StreamKind::Commands,
                _ => return Err(BusError::Client(format!("nothing is sent again on '{subject}'"))),
            };
        self.ensure_stream(kind).await?;
        let ack = self.send(subject.to_owned(), message(message_id, body)).await?;
        stored(ack, Instant::now() + ACK_TIMEOUT).await
    }
}

/// Advisories as they come in; ends when the connection is closed.
pub struct Advisories(SelectAll<Subscriber>);

impl Stream for Advisories {
    type Item = Advisory;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Advisory>> {
        loop {
            let message = std::task::ready!(self.0.poll_next_unpin(cx));
            let Some(message) = message else { return Poll::Ready(None) };
            if let Some(advisory) = read(&message.payload) {
                return Poll::Ready(Some(advisory));
            }
        }
    }
}

/// Other advisories about the same consumers are none of ours.
fn read(payload: &[u8]) -> Option<Advisory> {
    let told: Told = serde_json::from_slice(payload).ok()?;
    let given_up = match told.r#type.as_str() {
        "io.nats.jetstream.advisory.v1.max_deliver" => GivenUp::TooOften,
        // After a restart the server ends what it still had noted as delivered and finds settled.
        "io.nats.jetstream.advisory.v1.terminated"
            if told.reason.as_deref() == Some(ALREADY_GONE) =>
        {
            return None;
        }
        "io.nats.jetstream.advisory.v1.terminated" => GivenUp::Terminated,
        _ => return None,
    };
    Some(Advisory {
        given_up,
        stream: told.stream,
        consumer: told.consumer,
        stream_sequence: told.stream_seq,
        deliveries: told.deliveries,
        reason: told.reason.filter(|reason| !reason.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, reason: &str) -> Option<Advisory> {
        let text = format!(
            r#"{{"type":"io.nats.jetstream.advisory.v1.{kind}","id":"x","stream":"S","consumer":"c",
                "consumer_seq":4,"stream_seq":7,"deliveries":20,"reason":"{reason}"}}"#
        );
        read(text.as_bytes())
    }

    #[test]
    fn only_what_somebody_gave_up_is_told() {
        let often = told("max_deliver", "").unwrap();
        assert_eq!((often.given_up, often.stream_sequence), (GivenUp::TooOften, 7));
        assert_eq!((often.deliveries, often.reason), (20, None));
        assert_eq!(told("terminated", "poison").unwrap().reason.as_deref(), Some("poison"));
        assert_eq!(told("terminated", ALREADY_GONE), None);
        assert_eq!(told("nak", ""), None);
        assert_eq!(read(b"nonsense"), None);
    }
}
