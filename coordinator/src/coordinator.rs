//! One coordinator: its parts, started and stopped together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sluice_bus::{Bus, BusError};
use sluice_proto::agents::AgentCatalogue;
use sluice_proto::seal::SigningKey;
use sluice_proto::timestamp::Timestamp;
use sluice_proto::verify::KeyRing;
use sqlx::postgres::PgPool;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::checkpoints::CheckpointConfig;
use crate::config::CoordinatorConfig;
use crate::dispatcher::{self, DispatcherHandle};
use crate::hearing::Hearing;
use crate::intake::{self, IntakeHandle};
use crate::library::Library;
use crate::loader::Loader;
use crate::metrics::Metrics;
use crate::store::{self, StoreError};
use crate::{api, burials, checkpoints, commands, leases, roster, sweeper};

/// Coordinators share claims, heartbeats and results under this name.
pub(crate) const QUEUE_GROUP: &str = "coordinator";
/// Connections to PostgreSQL. Intake, leases, marks and the sweeper use one each; the rest is for reads.
const CONNECTIONS: u32 = 10;
/// Time the parts have to finish what they hold.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// What the parts share.
pub(crate) struct Shared {
    pub(crate) bus: Bus,
    pub(crate) pool: PgPool,
    pub(crate) library: Arc<Library>,
    pub(crate) loader: Loader,
    pub(crate) agents: AgentCatalogue,
    pub(crate) key: SigningKey,
    /// That key, and those that signed before.
    pub(crate) keys: KeyRing,
    pub(crate) checkpoints: Option<CheckpointConfig>,
    pub(crate) lease_ms: u64,
    pub(crate) workflow_ttl_ms: Option<u64>,
    pub(crate) intake: IntakeHandle,
    pub(crate) dispatcher: DispatcherHandle,
    pub(crate) metrics: Metrics,
    pub(crate) hearing: Hearing,
    /// Creation time of the stream of step commands, as last seen.
    pub(crate) stream_created_micros: AtomicI64,
}

impl Shared {
    /// Creation time of the stream of step commands, as last seen: tells its messages from those of a
    /// stream that was there before.
    pub(crate) fn stream_created(&self) -> i64 {
        self.stream_created_micros.load(Ordering::Acquire)
    }
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The secret is missing or too short to sign anything.
    #[error(
        "the event secret has {0} bytes and needs at least {min}; set SLUICE_EVENT_SECRET",
        min = SigningKey::MIN_SECRET_BYTES
    )]
    Secret(usize),
    /// The database is not there.
    #[error("PostgreSQL at {address} does not answer: {reason}")]
    DatabaseAway {
        /// Where, without credentials.
        address: String,
        /// What the operating system or the server says.
        reason: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// NATS.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// A running coordinator.
pub struct Coordinator {
    shared: Arc<Shared>,
    stop_intake: CancellationToken,
    stop_rest: CancellationToken,
    intake: tokio::task::JoinHandle<()>,
    parts: JoinSet<()>,
}

impl Coordinator {
    /// Brings the schema up to date, creates streams and consumers, and starts every part. When this
    /// returns, requests are being served.
    ///
    /// # Errors
    /// The secret is too short, or PostgreSQL or NATS cannot be used.
    pub async fn start(config: CoordinatorConfig) -> Result<Self, StartError> {
        let (key, keys) = keys(&config)?;
        let owner_url = config.database_owner_url.as_deref().unwrap_or(&config.database_url);
        let migrated = store::migrate(owner_url, &config.database_url).await;
        migrated.map_err(|error| at(owner_url, error))?;
        let pool = store::connect(&config.database_url, CONNECTIONS).await;
        let pool = pool.map_err(|error| at(&config.database_url, error))?;
        store::events::ensure_partitions(&mut *pool.acquire().await.map_err(StoreError::from)?)
            .await?;
        config.bus.ensure_topology().await?;
        let created = config.bus.steps_stream_created().await?.unwrap_or_default();
        let library = Arc::new(Library::new(config.templates));
        let (intake, inputs) = intake::channel();
        let (dispatcher, dispatches) = dispatcher::channel();
        let shared = Arc::new(Shared {
            loader: Loader::new(Arc::clone(&library), keys.clone()),
            bus: config.bus,
            pool,
            library,
            agents: config.agents,
            key,
            keys,
            checkpoints: config.checkpoints,
            lease_ms: config.lease_ms,
            workflow_ttl_ms: config.workflow_ttl_ms,
            intake,
            dispatcher,
            metrics: Metrics::default(),
            hearing: Hearing::default(),
            stream_created_micros: AtomicI64::new(created),
        });
        let (stop_intake, stop_rest) = (CancellationToken::new(), CancellationToken::new());
        let intake = tokio::spawn(intake::run(Arc::clone(&shared), inputs, stop_intake.clone()));
        let mut parts = JoinSet::new();
        let run = || (Arc::clone(&shared), stop_rest.clone());
        let (part, stop) = run();
        parts.spawn(dispatcher::run(part, dispatches, stop));
        let (part, stop) = run();
        parts.spawn(async { told("results", intake::results::run(part, stop).await) });
        let (part, stop) = run();
        parts.spawn(async { told("leases", leases::run(part, stop).await) });
        let (part, stop) = run();
        parts.spawn(async { told("commands", commands::run(part, stop).await) });
        let (part, stop) = run();
        parts.spawn(async { told("roster", roster::run(part, stop).await) });
        let (part, stop) = run();
        parts.spawn(async { told("dead letters", burials::run(part, stop).await) });
        let (part, stop) = run();
        parts.spawn(sweeper::run(part, stop));
        let (part, stop) = run();
        parts.spawn(checkpoints::run(part, stop));
        let service = api::serve(&shared).await?;
        let (part, stop) = run();
        parts.spawn(api::run(part, service, stop));
        tracing::info!(
            instance = config.instance,
            key.id = shared.key.key_id(),
            "coordinator is up: at-least-once dispatch, at-most-once commit per attempt, effects \
             exactly once for agents that honour the idempotency key"
        );
        Ok(Self { shared, stop_intake, stop_rest, intake, parts })
    }

    /// Takes no more work, finishes what it holds and answers who waits. Whatever is left undone is
    /// done by the next coordinator.
    pub async fn stop(mut self) {
        self.stop_rest.cancel();
        let ended = tokio::time::timeout(STOP_TIMEOUT, async {
            while self.parts.join_next().await.is_some() {}
            self.stop_intake.cancel();
            if let Err(error) = (&mut self.intake).await {
                tracing::error!(%error, "the intake ended badly");
            }
        });
        if ended.await.is_err() {
            tracing::warn!(
                "the coordinator did not finish in time; the next one goes on from the database"
            );
            self.parts.abort_all();
            self.intake.abort();
        }
        if self.shared.bus.flush().await.is_err() {
            tracing::debug!("NATS was away at the end");
        }
        self.shared.pool.close().await;
        self.shared.stream_created_micros.store(0, Ordering::Release);
    }
}

/// The key that signs, and every key that may have signed.
fn keys(config: &CoordinatorConfig) -> Result<(SigningKey, KeyRing), StartError> {
    let key = |secret: &Vec<u8>| SigningKey::new(secret).ok_or(StartError::Secret(secret.len()));
    let current = key(&config.event_secret)?;
    let retired = config.retired_event_secrets.iter().map(key);
    let all = retired.chain([Ok(current.clone())]).collect::<Result<KeyRing, _>>()?;
    Ok((current, all))
}

/// Says where the database was looked for.
fn at(url: &str, error: StoreError) -> StartError {
    match error {
        StoreError::Unavailable(error) => {
            StartError::DatabaseAway { address: store::address(url), reason: error.to_string() }
        }
        other => other.into(),
    }
}

fn told(part: &str, result: anyhow::Result<()>) {
    if let Err(error) = result {
        tracing::error!(part, error = %format!("{error:#}"), "a part of the coordinator ended");
    }
}

/// The clock of this process, in the database's precision.
pub(crate) fn now() -> Timestamp {
    Timestamp::from(OffsetDateTime::now_utc())
}
