//! A message taken from a work queue. Whoever holds it must settle it, or the queue delivers it again.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::{Acker, Message};
use bytes::Bytes;

use crate::connection::Bus;
use crate::error::BusError;

/// A message that stays ours until it is settled or the acknowledgement is overdue.
pub struct Delivery {
    /// Where it was published.
    pub subject: String,
    /// Its body.
    pub payload: Bytes,
    /// How often it was delivered, this time included.
    pub delivered_count: u64,
    /// Its `Nats-Msg-Id`, when the publisher gave one.
    pub message_id: Option<String>,
    /// Its place in the stream.
    pub stream_sequence: u64,
    /// When the stream took it, microseconds since 1970. Together with the sequence it names the message
    /// even after the stream was deleted and made anew.
    pub published_micros: i64,
    /// When the stream was created, microseconds since 1970, as last seen.
    pub stream_created_micros: i64,
    trace: Option<String>,
    acker: Acker,
    bus: Bus,
}

impl Delivery {
    pub(crate) fn new(
        bus: &Bus,
        message: Message,
        stream_created_micros: i64,
    ) -> Result<Self, BusError> {
        let (delivered_count, stream_sequence, published_micros) = {
            let info = message.info().map_err(|e| BusError::jetstream("delivery", e))?;
            (
                u64::try_from(info.delivered).unwrap_or(1),
                info.stream_sequence,
                crate::topology::micros(info.published),
            )
        };
        let header = |name: &str| {
            message
                .headers
                .as_ref()
                .and_then(|headers| headers.get(name))
                .map(|value| value.as_str().to_owned())
        };
        let (message_id, trace) = (header("Nats-Msg-Id"), header("traceparent"));
        let (message, acker) = message.split();
        Ok(Self {
            subject: message.subject.into_string(),
            payload: message.payload,
            delivered_count,
            message_id,
            stream_sequence,
            published_micros,
            stream_created_micros,
            trace,
            acker,
            bus: bus.clone(),
        })
    }

    /// The W3C trace it belongs to.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// Done: the queue forgets it. Nobody says whether the server heard it; if not, it comes again.
    ///
    /// # Errors
    /// The queue towards a lost server is full.
    pub async fn ack(&self) -> Result<(), BusError> {
        self.settle(AckKind::Ack).await
    }

    /// Done, and returns only once the server has confirmed it.
    ///
    /// # Errors
    /// No confirmation in time: it may come again.
    pub async fn ack_confirmed(&self) -> Result<(), BusError> {
        self.acker.double_ack().await.map_err(BusError::client)
    }

    /// Not now: the queue delivers it again, at once or after `delay`.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn nak(&self, delay: Option<Duration>) -> Result<(), BusError> {
        self.settle(AckKind::Nak(delay)).await
    }

    /// Never: nobody can process it, and the queue forgets it.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn term(&self, reason: &str) -> Result<(), BusError> {
        tracing::debug!(reason, "message terminated");
        self.settle(AckKind::Term).await
    }

    /// Still at it: the acknowledgement is due a full wait from now.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn in_progress(&self) -> Result<(), BusError> {
        self.settle(AckKind::Progress).await
    }

    async fn settle(&self, kind: AckKind) -> Result<(), BusError> {
        self.bus.bounded(async { self.acker.ack_with(kind).await.map_err(BusError::client) }).await
    }
}
