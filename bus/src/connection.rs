//! One connection per process and role, shared by everything that role does.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use bytes::Bytes;
use futures::StreamExt;
use sluice_proto::subject::Subjects;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::error::BusError;
use crate::serve::Subscription;
use crate::url::ServerUrl;

/// Headers and protocol envelope around a body that just fits.
const PAYLOAD_MARGIN: usize = 16 * 1024;
/// Who starts waits this long for the server without a word.
const SILENT_WAIT: Duration = Duration::from_secs(2);
/// A dead peer is noticed after about three of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Longest wait between two attempts to reconnect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// Longest wait for room in the client's own queue, which fills while the server is away.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer of the JetStream API.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// Publishes whose acknowledgement is still awaited, over all callers.
const MAX_ACKS_IN_FLIGHT: usize = 4_096;
/// Messages that may wait in one subscription before the client drops newer ones.
const SUBSCRIPTION_CAPACITY: usize = 8_192;

/// Where NATS is and who we are there.
#[derive(Clone)]
pub struct BusConfig {
    /// `nats://[user:password@]host[:port]`, credentials percent-encoded.
    pub url: String,
    /// First token of every subject.
    pub prefix: String,
    /// Names our inbox prefix, so that permissions can be written per role.
    pub role: &'static str,
    /// How long the first connection may take, retries included.
    pub connect_timeout: Duration,
    /// Settings of streams that an operator may choose.
    pub streams: StreamSettings,
}

impl BusConfig {
    /// A role at this server, everything else as usual.
    #[must_use]
    pub fn new(url: impl Into<String>, prefix: impl Into<String>, role: &'static str) -> Self {
        Self {
            url: url.into(),
            prefix: prefix.into(),
            role,
            connect_timeout: Duration::from_secs(30),
            streams: StreamSettings::default(),
        }
    }
}

impl fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address =
            ServerUrl::parse(&self.url).map_or_else(|_| "invalid".to_owned(), |u| u.address);
        f.debug_struct("BusConfig")
            .field("url", &address)
            .field("prefix", &self.prefix)
            .field("role", &self.role)
            .field("connect_timeout", &self.connect_timeout)
            .field("streams", &self.streams)
            .finish()
    }
}

/// What an operator may choose about streams. `None` leaves an existing stream as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamSettings {
    /// Copies of each stream in a cluster; 1 when a stream is created and nothing is said.
    pub replicas: Option<usize>,
    /// Most bytes of waiting step commands; unlimited when absent.
    pub steps_max_bytes: Option<u64>,
    /// Most bytes of waiting API commands; unlimited when absent.
    pub commands_max_bytes: Option<u64>,
    /// How long a step command may go without a word from the worker that took it before it is delivered
    /// again: as long as a lease, which is how long a worker may be silent; 10 s when absent.
    pub ack_wait: Option<Duration>,
}

/// A connection that heals itself. Clones share it.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) subjects: Subjects,
    pub(crate) settings: StreamSettings,
    pub(crate) inbox: String,
    /// Counts connections: who waits for something that a reconnect loses looks at it.
    pub(crate) connections: watch::Receiver<u64>,
    pub(crate) keeper: OnceLock<()>,
}

impl Bus {
    /// Connects, trying again until `connect_timeout` is over; later losses heal by themselves.
    ///
    /// # Errors
    /// Settings that cannot be right, credentials that are refused, or no server in time.
    pub async fn connect(config: BusConfig) -> Result<Self, BusError> {
        let subjects = Subjects::new(&config.prefix).ok_or_else(|| {
            BusError::InvalidConfig(format!(
                "subject prefix '{}': use 1 to 32 lower-case letters, digits or '-'",
                config.prefix
            ))
        })?;
        let url = ServerUrl::parse(&config.url)?;
        let inbox = Subjects::inbox(config.role);
        let (generation, connections) = watch::channel(0);
        let options = options(&url, &inbox, config.role, generation);
        let client = first_connection(&url, &options, config.connect_timeout).await?;
        let jetstream = ContextBuilder::new()
            .timeout(JETSTREAM_TIMEOUT)
            .max_ack_inflight(MAX_ACKS_IN_FLIGHT)
            .build(client.clone());
        let settings = config.streams;
        let inner = Inner {
            client,
            jetstream,
            subjects,
            settings,
            inbox,
            connections,
            keeper: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How subjects, streams and consumers are spelled here.
    #[must_use]
    pub fn subjects(&self) -> &Subjects {
        &self.inner.subjects
    }

    /// Largest body that fits, as the server announced it less a margin for the envelope.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.inner.client.max_payload().saturating_sub(PAYLOAD_MARGIN)
    }

    /// Whether the connection is up right now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        // After a drain the library's state stays what it was, but the sender of our counter is gone.
        self.inner.connections.has_changed().is_ok()
            && self.inner.client.connection_state() == State::Connected
    }

    /// Version of the server we are connected to.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.inner.client.server_info().version
    }

    /// Counts connections; changes when a lost one has come back.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.inner.connections.clone()
    }

    /// Returns once the server has carried out everything that was sent so far: what was published is on
    /// its way, subscriptions stand, and what it still delivered to those given up has arrived.
    ///
    /// # Errors
    /// The connection is down for too long.
    pub async fn flush(&self) -> Result<(), BusError> {
        // A server goes through a connection in order, so an echo comes behind everything before it.
        let echo = async {
            let client = &self.inner.client;
            let inbox = client.new_inbox();
            let mut echoes = client.subscribe(inbox.clone()).await.map_err(BusError::client)?;
            client.publish(inbox, Bytes::new()).await.map_err(BusError::client)?;
            echoes.next().await.map(drop).ok_or(BusError::NotConnected)
        };
        timeout(SEND_TIMEOUT, echo).await.map_err(|_| BusError::Timeout)?
    }

    /// Sends what is still to be sent, ends every subscription and closes the connection.
    pub async fn drain(&self) {
        let gone = async {
            self.flush().await?;
            self.inner.client.drain().await.map_err(BusError::client)?;
            // The sender of this channel lives as long as the connection does.
            let mut connections = self.inner.connections.clone();
            while connections.changed().await.is_ok() {}
            Ok::<_, BusError>(())
        };
        match timeout(SEND_TIMEOUT, gone).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "closing the NATS connection failed"),
            Err(_) => tracing::warn!("the NATS connection did not close in time"),
        }
    }

    /// Hands `body` to the connection; nobody says whether it arrives.
    ///
    /// # Errors
    /// Too large, or the queue towards a lost server is full.
    pub async fn publish(
        &self,
        subject: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Result<(), BusError> {
        self.bounded(self.inner.client.publish(subject.into(), body.into())).await
    }

    /// Publishes a committed event to its stream, fire and forget: the feed is never the truth, so
    /// nothing waits for it.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_event(
        &self,
        subject: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Result<(), BusError> {
        self.publish(subject, body).await
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// `NotConnected` at once while the connection is down (a request queued then would be carried out
    /// long after its asker gave up), `NoResponders`, `Timeout`, `TooLarge`.
    pub async fn request(
        &self,
        subject: impl Into<String>,
        body: impl Into<Bytes>,
        wait: Duration,
    ) -> Result<Bytes, BusError> {
        let request = async_nats::Request::new().payload(body.into());
        Ok(self.ask(subject.into(), request, wait).await?.payload)
    }

    /// Every message on `subject` from now on.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn subscribe(&self, subject: impl Into<String>) -> Result<Subscription, BusError> {
        self.in_time(self.inner.client.subscribe(subject.into())).await.map(Subscription::new)
    }

    pub(crate) async fn in_time<T, E: ToString>(
        &self,
        subscribing: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BusError> {
        let done = timeout(SEND_TIMEOUT, subscribing).await;
        done.map_err(|_| BusError::NotConnected)?.map_err(BusError::client)
    }

    pub(crate) async fn ask(
        &self,
        subject: String,
        request: async_nats::Request,
        wait: Duration,
    ) -> Result<async_nats::Message, BusError> {
        if !self.is_connected() {
            return Err(BusError::NotConnected);
        }
        let request = request.timeout(Some(wait));
        // The library's own limit starts only once the request has room in the queue.
        let reply = timeout(wait, self.inner.client.send_request(subject, request)).await;
        Ok(reply.map_err(|_| BusError::Timeout)??)
    }

    pub(crate) async fn bounded<E: Into<BusError>>(
        &self,
        sending: impl Future<Output = Result<(), E>>,
    ) -> Result<(), BusError> {
        timeout(SEND_TIMEOUT, sending)
            .await
            .map_err(|_| BusError::NotConnected)?
            .map_err(Into::into)
    }
}

fn options(
    url: &ServerUrl,
    inbox: &str,
    role: &str,
    generation: watch::Sender<u64>,
) -> ConnectOptions {
    let generation = Arc::new(generation);
    let address: Arc<str> = url.address.as_str().into();
    let options = ConnectOptions::new()
        .name(format!("sluice-{role}"))
        .custom_inbox_prefix(inbox)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            let (generation, address) = (Arc::clone(&generation), Arc::clone(&address));
            async move { note(&event, &generation, &address) }
        });
    match &url.credentials {
        Some((user, password)) => options.user_and_password(user.clone(), password.clone()),
        None => options,
    }
}

/// Doubles from 50 ms; the jitter keeps a fleet from coming back in one instant.
fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let doubled = Duration::from_millis(50) * 2_u32.saturating_pow(attempts.min(8) as u32 - 2);
    doubled.min(MAX_RECONNECT_DELAY).mul_f64(0.75 + fastrand::f64() * 0.5)
}

fn note(event: &Event, generation: &watch::Sender<u64>, address: &str) {
    match event {
        Event::Connected => {
            generation.send_modify(|count| *count += 1);
            tracing::info!(nats.address = address, "connected to NATS");
        }
        Event::Disconnected => {
            tracing::warn!(nats.address = address, "connection to NATS lost, reconnecting")
        }
        Event::LameDuckMode => {
            tracing::info!(nats.address = address, "the NATS server is shutting down")
        }
        Event::SlowConsumer(_) => {
            tracing::warn!(
                "messages were dropped: a subscription holds {SUBSCRIPTION_CAPACITY} unread ones"
            );
        }
        Event::ServerError(error) => tracing::warn!(%error, "the NATS server reports an error"),
        Event::ClientError(error) => tracing::debug!(%error, "NATS client"),
        Event::Draining | Event::Closed => {}
    }
}

async fn first_connection(
    url: &ServerUrl,
    options: &ConnectOptions,
    limit: Duration,
) -> Result<Client, BusError> {
    let started = Instant::now();
    let until = started + limit;
    let (mut attempt, mut told) = (1, false);
    loop {
        let error = match options.clone().connect(url.address.as_str()).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        attempt += 1;
        let delay = reconnect_delay(attempt);
        // Wrong credentials do not become right by waiting.
        let hopeless = matches!(
            error.kind(),
            ConnectErrorKind::AuthorizationViolation
                | ConnectErrorKind::Authentication
                | ConnectErrorKind::ServerParse
        );
        if hopeless || Instant::now() + delay >= until {
            return Err(BusError::Connect { url: url.address.clone(), reason: error.to_string() });
        }
        if !told && started.elapsed() >= SILENT_WAIT {
            tracing::warn!(
                nats.address = url.address, %error,
                "NATS does not answer yet; waiting for it up to {} s", limit.as_secs()
            );
            told = true;
        }
        sleep(delay).await;
    }
}
