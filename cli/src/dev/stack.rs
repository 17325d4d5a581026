//! The roles of `sluice dev`, started and stopped together.

use std::time::Duration;

use sluice_bus::Bus;
use sluice_coordinator::Coordinator;
use sluice_gateway::Gateway;
use sluice_proto::ids::WorkerName;
use sluice_servers::Servers;
use sluice_worker::{AgentsFile, Naming, Worker};

use super::folder::DataFolder;
use crate::config::{Config, key};
use crate::error::CliError;
use crate::roles::{self, Databases, Share};

/// Attempts at the same time. More than a laptop's agents will want.
const CONCURRENCY: usize = 64;
/// What its worker is called.
const WORKER: &str = "dev";
/// How long agents may go on after somebody wanted to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Every role.
pub(super) struct Stack {
    pub(super) gateway: Gateway,
    /// The gateway's connection, through which the banner asks.
    pub(super) bus: Bus,
    worker: Worker,
    coordinator: Coordinator,
}

impl Stack {
    /// Each role has a connection of its own, as it would as a process of its own.
    pub(super) async fn start(
        config: &Config,
        folder: &DataFolder,
        servers: &Servers,
        agents: AgentsFile,
    ) -> Result<Self, CliError> {
        let nats = servers.nats_url();
        let event_secret = match config.is_chosen(key::EVENT_SECRET) {
            true => roles::event_secret(config)?,
            false => folder.event_secret()?,
        };
        let databases = Databases {
            url: servers.database_url(),
            owner_url: Some(servers.database_owner_url()),
        };
        let bus = roles::connect(config, &nats, "coordinator").await?;
        let coordinator = roles::coordinator(config, bus, databases, &agents, event_secret).await?;
        let bus = roles::connect(config, &nats, "worker").await?;
        // The installation is the data folder's own, and so is the name in it.
        let name =
            WorkerName::parse(WORKER).map_err(|error| CliError::Failed(error.to_string()))?;
        let share = Share { only: None, concurrency: CONCURRENCY };
        let worker = roles::worker(config, bus, agents, share, Naming::Chosen(name)).await?;
        let bus = roles::connect(config, &nats, "gateway").await?;
        let gateway = roles::gateway(config, bus.clone()).await?;
        Ok(Self { gateway, bus, worker, coordinator })
    }

    /// From the outside in: what is under way finishes, and its result finds somebody to take it.
    pub(super) async fn stop(self) {
        self.gateway.stop().await;
        self.worker.stop(GRACE).await;
        self.coordinator.stop().await;
    }
}
