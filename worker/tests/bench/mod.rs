//! What a test works with.

use std::path::PathBuf;

use sluice_bus::Bus;
use sluice_proto::ids::AgentName;
use sluice_proto::ids::WorkerName;
use sluice_worker::{AgentsFile, Naming, Worker, WorkerConfig};

use crate::SOON;
use crate::coordinator::Coordinator;
use crate::nats::NatsServer;

/// Everything a test needs, gone with it.
pub(crate) struct Bench {
    pub(crate) nats: NatsServer,
    pub(crate) coordinator: Coordinator,
    pub(crate) folder: PathBuf,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let nats = NatsServer::start(&[]);
        let coordinator = Coordinator::start(nats.bus("coordinator").await).await;
        let folder = std::env::temp_dir().join(format!(
            "sluice-worker-{}",
            nats.url().replace(|c: char| !c.is_ascii_digit(), "")
        ));
        std::fs::create_dir_all(&folder).unwrap();
        Self { nats, coordinator, folder }
    }

    pub(crate) fn config(&self, bus: Bus, agents: &str) -> WorkerConfig {
        let agents = AgentsFile::parse(agents, &self.folder, &|_| None).unwrap();
        WorkerConfig {
            bus,
            agents,
            functions: Vec::new(),
            only: None,
            concurrency: 16,
            naming: Naming::Numbered(WorkerName::parse("w").unwrap()),
            worker_id: WorkerName::parse("w-1").unwrap(),
            llm: None,
        }
    }

    pub(crate) async fn worker(&self, agents: &str) -> Worker {
        let config = self.config(self.nats.bus("worker").await, agents);
        Worker::start(config).await.unwrap()
    }

    /// Waits until the queue of an agent is empty, nothing held.
    pub(crate) async fn settled(&self, agent: &str) {
        self.until_lane(agent, |pending, held| pending == 0 && held == 0).await;
    }

    pub(crate) async fn until_lane(&self, agent: &str, reached: impl Fn(u64, u64) -> bool) {
        let agent = AgentName::parse(agent).unwrap();
        let waiting = async {
            loop {
                let lane = self.coordinator.bus.step_lane(&agent, false).await.unwrap();
                if lane.exists && reached(lane.pending, lane.ack_pending) {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, waiting).await.unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
