//! What can go wrong on the way to NATS and back. The texts are for operators; none holds a password
//! or a message body.

use async_nats::client::{PublishErrorKind, RequestErrorKind};
use async_nats::jetstream::context;

/// Why something did not get through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The settings cannot be right.
    #[error("{0}")]
    InvalidConfig(String),
    /// The first connection did not come about.
    #[error("NATS at {url} does not answer: {reason}")]
    Connect {
        /// Where, without credentials.
        url: String,
        /// The last failure.
        reason: String,
    },
    /// The connection is down; it is being re-established.
    #[error("not connected to NATS")]
    NotConnected,
    /// Nobody listens on the subject.
    #[error("nobody listens")]
    NoResponders,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// Larger than the server takes.
    #[error("message larger than the NATS server takes")]
    TooLarge,
    /// The stream a message was meant for is gone.
    #[error("the stream is gone")]
    StreamMissing,
    /// A stream or consumer is not as it has to be.
    #[error("{what}: {reason}")]
    JetStream {
        /// Stream, consumer or operation.
        what: String,
        /// What the server said.
        reason: String,
    },
    /// The client gave up.
    #[error("NATS client: {0}")]
    Client(String),
}

impl BusError {
    pub(crate) fn jetstream(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::JetStream { what: what.into(), reason: reason.to_string() }
    }

    pub(crate) fn client(reason: impl ToString) -> Self {
        Self::Client(reason.to_string())
    }
}

impl From<async_nats::PublishError> for BusError {
    fn from(error: async_nats::PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            _ => Self::client(error),
        }
    }
}

impl From<async_nats::RequestError> for BusError {
    fn from(error: async_nats::RequestError) -> Self {
        match error.kind() {
            RequestErrorKind::TimedOut => Self::Timeout,
            RequestErrorKind::NoResponders => Self::NoResponders,
            RequestErrorKind::MaxPayloadExceeded => Self::TooLarge,
            RequestErrorKind::InvalidSubject | RequestErrorKind::Other => Self::client(error),
        }
    }
}

impl From<context::PublishError> for BusError {
    fn from(error: context::PublishError) -> Self {
        match error.kind() {
            context::PublishErrorKind::StreamNotFound => Self::StreamMissing,
            context::PublishErrorKind::TimedOut => Self::Timeout,
            context::PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            _ => Self::jetstream("publish", error),
        }
    }
}
