//! A coordinator or a worker as a process of its own, as long as its standard input is open.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value, json};
use sluice_bus::{Bus, BusConfig};
use sluice_coordinator::{Coordinator, CoordinatorConfig, TemplateSource};
use sluice_proto::ids::{AgentName, WorkerName};
use sluice_proto::message::{AgentError, Command};
use sluice_worker::{AgentsFile, Function, Naming, Worker, WorkerConfig};
use tokio::io::AsyncReadExt;

use crate::drive::{AGENTS, COUNTED};

/// The file in which each call of the agent [`COUNTED`] is a line: its idempotency key.
pub(crate) const CALLS: &str = "calls";
/// First token of the subjects.
pub(crate) const PREFIX: &str = "sluice";
/// The lease that `sluice` has unless it is told otherwise.
const LEASE_MS: u64 = 10_000;
/// Attempts that the worker runs at once.
const CONCURRENCY: usize = 2_000;
/// Bytes of an output.
const OUTPUT_BYTES: usize = 200;
/// What signs events here.
const SECRET: &[u8] = b"a secret for measurements, no more";
const GRACE: Duration = Duration::from_secs(10);

/// What this process is, when it is started by another one of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Subcommand)]
pub(crate) enum Role {
    /// A coordinator
    #[command(hide = true)]
    Coordinator,
    /// A worker
    #[command(hide = true)]
    Worker,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
        }
    }
}

/// Settings that the parent gives.
pub(crate) mod setting {
    pub(crate) const NATS_URL: &str = "SLUICE_BENCH_NATS_URL";
    pub(crate) const DATABASE_URL: &str = "SLUICE_BENCH_DATABASE_URL";
    pub(crate) const DATABASE_OWNER_URL: &str = "SLUICE_BENCH_DATABASE_OWNER_URL";
    pub(crate) const FOLDER: &str = "SLUICE_BENCH_FOLDER";
}

pub(crate) async fn run(role: Role) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let folder = PathBuf::from(needed(setting::FOLDER)?);
    let agents = AgentsFile::load(&folder.join("agents.yaml"))?;
    let config = BusConfig::new(needed(setting::NATS_URL)?, PREFIX, role.name());
    let bus = Bus::connect(config).await?;
    match role {
        Role::Coordinator => {
            let config = CoordinatorConfig {
                bus,
                database_url: needed(setting::DATABASE_URL)?,
                database_owner_url: Some(needed(setting::DATABASE_OWNER_URL)?),
                templates: TemplateSource::Dir(folder),
                agents: agents.catalogue(),
                event_secret: SECRET.to_vec(),
                retired_event_secrets: Vec::new(),
                checkpoints: None,
                lease_ms: LEASE_MS,
                workflow_ttl_ms: None,
                instance: "coordinator".to_owned(),
            };
            let coordinator = Box::pin(Coordinator::start(config)).await?;
            parent_is_gone().await;
            coordinator.stop().await;
        }
        Role::Worker => {
            let config = WorkerConfig {
                bus,
                agents,
                functions: functions(&folder)?,
                only: None,
                concurrency: CONCURRENCY,
                naming: Naming::Chosen(WorkerName::parse("worker")?),
                worker_id: WorkerName::parse(&format!("worker-{}", std::process::id()))?,
                llm: None,
            };
            let worker = Box::pin(Worker::start(config)).await?;
            parent_is_gone().await;
            Box::pin(worker.stop(GRACE)).await;
        }
    }
    Ok(())
}

fn needed(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

/// Agents that do nothing, and say as much as others.
fn functions(folder: &Path) -> anyhow::Result<Vec<Function>> {
    let calls = OpenOptions::new().create(true).append(true).open(folder.join(CALLS))?;
    let calls = Arc::new(calls);
    let function = |(name, _): &(&str, &str)| {
        let (output, calls) = (output(), Arc::clone(&calls));
        let is_counted = *name == COUNTED;
        let call = move |command: Arc<Command>| {
            // One write a line, so that lines of several threads do not mix.
            let line = format!("{}\n", command.idempotency_key);
            let noted = if is_counted { (&*calls).write_all(line.as_bytes()) } else { Ok(()) };
            let answer = noted.map(|()| output.clone()).map_err(|error| AgentError {
                code: "not_counted".to_owned(),
                message: error.to_string(),
                ..AgentError::default()
            });
            std::future::ready(answer)
        };
        Ok(Function::new(AgentName::parse(name)?, call))
    };
    AGENTS.iter().map(function).collect()
}

fn output() -> Map<String, Value> {
    let empty = json!({"result": ""}).to_string().len();
    let filled = json!({"result": "x".repeat(OUTPUT_BYTES - empty)});
    filled.as_object().cloned().unwrap_or_default()
}

async fn parent_is_gone() {
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_has_the_size_of_the_peers() {
        assert_eq!(Value::Object(output()).to_string().len(), OUTPUT_BYTES);
    }
}
