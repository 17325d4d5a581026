//! Plain messages and requests from others.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_nats::{HeaderMap, Subject, Subscriber};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::connection::Bus;
use crate::error::BusError;

impl Bus {
    /// Shares the requests on `pattern` with everybody who serves it under the same `queue`. Replies are
    /// gathered by the connection: none waits for a flush of its own.
    ///
    /// # Errors
    /// The queue towards a lost server is full.
    pub async fn serve(
        &self,
        pattern: impl Into<String>,
        queue: &str,
    ) -> Result<Requests, BusError> {
        let subscribing = self.inner.client.queue_subscribe(pattern.into(), queue.to_owned());
        let subscriber = self.in_time(subscribing).await?;
        Ok(Requests { subscriber, bus: self.clone() })
    }
}

/// Requests as they come in; ends when the connection is closed.
pub struct Requests {
    subscriber: Subscriber,
    bus: Bus,
}

impl Requests {
    /// Takes no further requests; those already here can still be read.
    pub async fn stop(&mut self) {
        if let Err(error) = self.subscriber.drain().await {
            tracing::debug!(%error, "unsubscribing failed");
        }
    }
}

impl Stream for Requests {
    type Item = Request;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Request>> {
        let message = std::task::ready!(self.subscriber.poll_next_unpin(cx));
        Poll::Ready(message.map(|message| Request {
            subject: message.subject.into_string(),
            payload: message.payload,
            headers: message.headers,
            reply: message.reply,
            bus: self.bus.clone(),
        }))
    }
}

/// Somebody waits for [`Request::respond`], unless it was published without a reply subject.
pub struct Request {
    /// Where it came in.
    pub subject: String,
    /// Its body.
    pub payload: Bytes,
    headers: Option<HeaderMap>,
    reply: Option<Subject>,
    bus: Bus,
}

impl Request {
    /// Value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
    }

    /// Whether anybody waits for an answer.
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        self.reply.is_some()
    }

    /// Answers; does nothing when nobody waits.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn respond(&self, body: impl Into<Bytes>) -> Result<(), BusError> {
        match &self.reply {
            Some(reply) => self.bus.publish(reply.to_string(), body).await,
            None => Ok(()),
        }
    }
}

/// Messages as they come in; ends when the connection is closed.
pub struct Subscription {
    subscriber: Subscriber,
}

impl Subscription {
    pub(crate) fn new(subscriber: Subscriber) -> Self {
        Self { subscriber }
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let message = std::task::ready!(self.subscriber.poll_next_unpin(cx));
        Poll::Ready(
            message.map(|m| Message { subject: m.subject.into_string(), payload: m.payload }),
        )
    }
}

/// A message nobody waits for an answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it came in.
    pub subject: String,
    /// Its body.
    pub payload: Bytes,
}
