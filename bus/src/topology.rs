//! Streams and consumers, made from code by whoever comes first.
//!
//! Every option is set here, also where it equals today's default of the server: a default that changes
//! with a server upgrade would change what our promises rest on.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{
    AckPolicy, DeliverPolicy, PriorityPolicy, PullConsumer, ReplayPolicy, pull,
};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Compression, Config, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType,
};
use sluice_proto::ids::AgentName;
use sluice_proto::subject::Subjects;
use time::OffsetDateTime;

use crate::connection::{Bus, Inner, StreamSettings};
use crate::error::BusError;

/// Durable consumer of the stream of API commands.
pub(crate) const COORDINATOR: &str = "coordinator";
/// A message that nobody settles for this long is delivered again, unless configured otherwise.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// Deliveries of one message before JetStream lets it lie; the coordinator's retries are not counted here.
const MAX_DELIVER: i64 = 20;
/// Delivered and unsettled messages of one consumer, over all workers.
const MAX_ACK_PENDING: i64 = 10_000;
/// Pull requests waiting at one consumer, over all workers; each keeps at most one.
const MAX_WAITING: i64 = 4_096;
/// A repeated message id within this window is not stored again.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How long, and how large, the feed of events is kept for readers that fell behind.
const EVENTS_MAX_AGE: Duration = Duration::from_secs(3_600);
const EVENTS_MAX_BYTES: i64 = 64 * 1024 * 1024;
/// Another role may create, update or delete the same thing at the same moment.
const ATTEMPTS: u32 = 4;

/// One of our streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Commands,
    Events,
    Steps,
}

impl StreamKind {
    const ALL: [Self; 3] = [Self::Commands, Self::Events, Self::Steps];

    pub(crate) fn name(self, subjects: &Subjects) -> String {
        match self {
            Self::Commands => subjects.commands_stream(),
            Self::Events => subjects.events_stream(),
            Self::Steps => subjects.steps_stream(),
        }
    }

    /// Whether it holds nothing that PostgreSQL does not hold too.
    fn is_disposable(self) -> bool {
        matches!(self, Self::Events | Self::Steps)
    }

    /// Puts our settings over `config` and leaves what operators choose (placement, replicas unless set).
    fn shape(self, config: &mut Config, subjects: &Subjects, settings: &StreamSettings) {
        config.name = self.name(subjects);
        config.max_messages = -1;
        config.max_messages_per_subject = -1;
        config.max_message_size = -1;
        config.max_consumers = -1;
        config.discard_new_per_subject = false;
        config.no_ack = false;
        config.allow_rollup = false;
        config.deny_delete = false;
        config.deny_purge = false;
        config.duplicate_window = DUPLICATE_WINDOW;
        config.compression = Some(Compression::None);
        if let Some(replicas) = settings.replicas {
            config.num_replicas = replicas;
        }
        config.num_replicas = config.num_replicas.max(1);
        match self {
            Self::Commands => {
                config.description = Some("API commands, fire and forget".to_owned());
                config.subjects = vec![subjects.all_commands()];
                work_queue(config, settings.commands_max_bytes);
            }
            Self::Steps => {
                config.description = Some("step commands on their way to workers".to_owned());
                config.subjects = vec![subjects.all_steps()];
                work_queue(config, settings.steps_max_bytes);
            }
            Self::Events => {
                config.description = Some("committed events, a feed".to_owned());
                config.subjects = vec![subjects.all_events()];
                // Memory: readers refetch what they miss, so a disk write per event would buy nothing.
                config.storage = StorageType::Memory;
                config.retention = RetentionPolicy::Limits;
                config.discard = DiscardPolicy::Old;
                config.max_age = EVENTS_MAX_AGE;
                config.max_bytes = EVENTS_MAX_BYTES;
            }
        }
    }
}

fn work_queue(config: &mut Config, max_bytes: Option<u64>) {
    // Work queue: an acknowledged message is gone, and no two consumers may see the same subject.
    config.retention = RetentionPolicy::WorkQueue;
    // File: a restart of the server keeps the queue.
    config.storage = StorageType::File;
    // New: a full queue refuses a publish, which somebody notices; it never drops a waiting command.
    config.discard = DiscardPolicy::New;
    // No age limit: waiting long is no reason to be forgotten.
    config.max_age = Duration::ZERO;
    if let Some(bytes) = max_bytes {
        config.max_bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    } else if config.max_bytes == 0 {
        config.max_bytes = -1;
    }
}

impl Bus {
    /// Makes the streams, or brings them into shape; safe to call at any time from any number of roles.
    /// From the first call on it happens again by itself after every reconnect, because a server that
    /// restarts forgets streams it kept in memory.
    ///
    /// # Errors
    /// JetStream is off, does not answer, or a stream of ours cannot be brought into shape.
    pub async fn ensure_topology(&self) -> Result<(), BusError> {
        for kind in StreamKind::ALL {
            self.ensure_stream(kind).await?;
        }
        self.ensure_consumer(StreamKind::Commands, &command_consumer(self.subjects())).await?;
        self.keep_topology();
        Ok(())
    }

    /// Makes both lanes' durable consumers of these agents, or brings them into shape.
    ///
    /// # Errors
    /// As [`Bus::ensure_topology`].
    pub async fn ensure_step_consumers(&self, agents: &[AgentName]) -> Result<(), BusError> {
        for agent in agents {
            for urgent in [true, false] {
                self.ensure_consumer(StreamKind::Steps, &self.step_consumer(agent, urgent)).await?;
            }
        }
        Ok(())
    }

    pub(crate) fn step_consumer(&self, agent: &AgentName, urgent: bool) -> pull::Config {
        let subjects = self.subjects();
        let name = Subjects::step_consumer(agent, urgent);
        let ack_wait = self.ack_wait();
        pull::Config { ack_wait, ..consumer(name, subjects.step(agent, urgent)) }
    }

    /// Who holds a step command must give a sign this often, or it is delivered again.
    #[must_use]
    pub fn ack_wait(&self) -> Duration {
        self.inner.settings.ack_wait.unwrap_or(ACK_WAIT)
    }

    fn keep_topology(&self) {
        if self.inner.keeper.set(()).is_err() {
            return;
        }
        // Weak, so that the task does not keep the connection alive; it ends with the connection.
        let (inner, mut connections) =
            (Arc::downgrade(&self.inner), self.inner.connections.clone());
        connections.mark_unchanged();
        tokio::spawn(async move {
            while connections.changed().await.is_ok() {
                let Some(inner) = inner.upgrade() else { return };
                restore(Self { inner }).await;
            }
        });
    }

    /// Makes a consumer, and its stream first when that is missing.
    pub(crate) async fn ensure_consumer(
        &self,
        kind: StreamKind,
        config: &pull::Config,
    ) -> Result<PullConsumer, BusError> {
        let stream = kind.name(self.subjects());
        let what = || {
            format!("consumer {} of {stream}", config.durable_name.as_deref().unwrap_or_default())
        };
        let mut last = BusError::NotConnected;
        for _ in 0..ATTEMPTS {
            let error =
                match self.inner.jetstream.create_consumer_on_stream(config.clone(), &stream).await
                {
                    Ok(consumer) => return Ok(consumer),
                    Err(error) => error,
                };
            last = BusError::jetstream(what(), &error);
            match error.kind() {
                ConsumerErrorKind::JetStream(e)
                    if e.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    self.ensure_stream(kind).await?;
                }
                ConsumerErrorKind::JetStream(_) => {
                    self.replace_consumer(&stream, config, &last).await?
                }
                ConsumerErrorKind::TimedOut | ConsumerErrorKind::Request => return Err(last),
                _ => {}
            }
        }
        Err(last)
    }

    /// A consumer holds no messages of its own: one that cannot be updated is made anew, and what it had
    /// delivered without an acknowledgement is delivered again.
    async fn replace_consumer(
        &self,
        stream: &str,
        config: &pull::Config,
        why: &BusError,
    ) -> Result<(), BusError> {
        let name = config.durable_name.as_deref().unwrap_or_default();
        match self.inner.jetstream.delete_consumer_from_stream(name, stream).await {
            Ok(_) => {
                tracing::warn!(nats.stream = stream, nats.consumer = name, error = %why, "consumer made anew");
                Ok(())
            }
            Err(_) => Err(why.clone()),
        }
    }

    pub(crate) async fn ensure_stream(&self, kind: StreamKind) -> Result<(), BusError> {
        let mut last = BusError::NotConnected;
        for _ in 0..ATTEMPTS {
            match self.try_ensure_stream(kind).await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn try_ensure_stream(&self, kind: StreamKind) -> Result<(), BusError> {
        let (jetstream, name) = (&self.inner.jetstream, kind.name(self.subjects()));
        let failed =
            |error: &dyn std::fmt::Display| BusError::jetstream(format!("stream {name}"), error);
        let existing = match jetstream.get_stream(&name).await {
            Ok(stream) => stream.cached_info().clone(),
            Err(error) => {
                return match error.kind() {
                    GetStreamErrorKind::JetStream(e)
                        if e.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        self.create_stream(kind).await
                    }
                    _ => Err(failed(&error)),
                };
            }
        };
        let mut wanted = existing.config.clone();
        kind.shape(&mut wanted, self.subjects(), &self.inner.settings);
        if wanted == existing.config {
            return Ok(());
        }
        let Err(error) = jetstream.update_stream(&wanted).await else { return Ok(()) };
        let refused = matches!(error.kind(), CreateStreamErrorKind::JetStream(e) if e.error_code() != ErrorCode::STREAM_NOT_FOUND);
        if !refused {
            return Err(failed(&error));
        }
        if !kind.is_disposable() && existing.state.messages > 0 {
            return Err(failed(&format_args!(
                "{error}; it holds {} commands: consume or copy them, then delete the stream",
                existing.state.messages
            )));
        }
        tracing::warn!(nats.stream = %name, %error, "stream made anew: its settings could not be changed");
        jetstream.delete_stream(&name).await.map_err(|e| failed(&e))?;
        self.create_stream(kind).await
    }

    async fn create_stream(&self, kind: StreamKind) -> Result<(), BusError> {
        let mut config = Config::default();
        kind.shape(&mut config, self.subjects(), &self.inner.settings);
        let name = config.name.clone();
        match self.inner.jetstream.create_stream(config).await {
            Ok(_) => {
                tracing::info!(nats.stream = %name, "stream created");
                Ok(())
            }
            Err(error) => Err(BusError::jetstream(format!("stream {name}"), error)),
        }
    }
}

async fn restore(bus: Bus) {
    if let Err(error) = bus.ensure_topology().await {
        tracing::warn!(%error, "streams could not be checked after a reconnect");
    }
}

pub(crate) fn command_consumer(subjects: &Subjects) -> pull::Config {
    consumer(COORDINATOR.to_owned(), subjects.all_commands())
}

fn consumer(name: String, filter: String) -> pull::Config {
    pull::Config {
        name: Some(name.clone()),
        // Durable: what was delivered and not settled survives every client.
        durable_name: Some(name),
        description: None,
        // A work queue allows no other start than its beginning.
        deliver_policy: DeliverPolicy::All,
        // Each message is settled alone; steps end in any order.
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: MAX_DELIVER,
        // Exact, no wildcard: `x.step.a` does not cover `x.step.a.urgent`, so the lanes do not overlap.
        filter_subject: filter,
        filter_subjects: Vec::new(),
        replay_policy: ReplayPolicy::Instant,
        rate_limit: 0,
        sample_frequency: 0,
        max_waiting: MAX_WAITING,
        max_ack_pending: MAX_ACK_PENDING,
        headers_only: false,
        // 0 leaves batch, bytes and expiry to the pull requests, which are bounded by free slots.
        max_batch: 0,
        max_bytes: 0,
        max_expires: Duration::ZERO,
        // 0: never removed for being idle. A lane nobody listens to must not lose its place.
        inactive_threshold: Duration::ZERO,
        // 0: as many as the stream has.
        num_replicas: 0,
        memory_storage: false,
        metadata: std::collections::HashMap::new(),
        // Empty: every redelivery waits `ack_wait`, or what a negative acknowledgement says.
        backoff: Vec::new(),
        priority_policy: PriorityPolicy::None,
        priority_groups: Vec::new(),
        priority_timeout: Duration::ZERO,
        pause_until: None,
    }
}

/// Microseconds since 1970.
pub(crate) fn micros(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("prefix", &self.subjects.prefix()).finish_non_exhaustive()
    }
}
