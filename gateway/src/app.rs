//! What every handler can reach.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::{GatewayConfig, Limits};
use crate::coordinator::Coordinator;
use crate::error::GatewayError;
use crate::metrics::Metrics;
use crate::origin::OriginPolicy;

/// Which of the two addresses a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Every route.
    Orchestrator,
    /// The reading ones.
    StatePersistence,
}

impl Service {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::StatePersistence => "state-persistence",
        }
    }
}

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) service: Service,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) coordinator: Coordinator,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) origins: OriginPolicy,
    pub(crate) slots: Semaphore,
    /// Places for answers that go on for as long as their run.
    pub(crate) followers: Arc<Semaphore>,
    /// Places for reports that are made or waited for.
    pub(crate) reports: Semaphore,
    /// One is made at a time: it takes a core, and memory that grows with the record.
    pub(crate) report_at_work: Arc<Semaphore>,
    pub(crate) report_template: Option<Arc<str>>,
    /// The gateway stops: such answers end.
    pub(crate) stopping: CancellationToken,
}

impl App {
    pub(crate) fn new(
        config: GatewayConfig,
        stopping: CancellationToken,
    ) -> Result<Self, GatewayError> {
        let shared = Shared {
            origins: OriginPolicy::new(&config)?,
            metrics: Metrics::default(),
            slots: Semaphore::new(config.limits.requests.min(Semaphore::MAX_PERMITS)),
            followers: Arc::new(Semaphore::new(
                config.limits.followers.min(Semaphore::MAX_PERMITS),
            )),
            reports: Semaphore::new(config.limits.reports.min(Semaphore::MAX_PERMITS)),
            report_at_work: Arc::new(Semaphore::new(1)),
            report_template: config.report_template,
            stopping,
            coordinator: Coordinator::new(config.bus, config.limits.answer_timeout),
            limits: config.limits,
        };
        Ok(Self { service: Service::Orchestrator, shared: Arc::new(shared) })
    }

    /// The same, seen from `service`'s address.
    pub(crate) fn on(&self, service: Service) -> Self {
        Self { service, shared: Arc::clone(&self.shared) }
    }

    /// Longest body, bytes: ours, and what NATS carries.
    pub(crate) fn body_limit(&self) -> usize {
        self.limits.body_bytes.min(self.coordinator.max_payload())
    }
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}
