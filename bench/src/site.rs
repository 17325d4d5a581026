//! Servers, one coordinator and one worker, each a process of its own.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use sluice_bus::{Bus, BusConfig};
use sluice_servers::{Options, Servers};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::process::{Child, Command};

use crate::counts::{Process, Snapshot};
use crate::drive::{AGENTS, Load};
use crate::machine::{self, Machine};
use crate::role::{CALLS, PREFIX, Role, setting};

/// Attempts of one agent at once: as many as a file may say.
const AGENT_CONCURRENCY: usize = 1_024;
/// Of each log, when something failed.
const LAST_LINES: usize = 20;
const STOP_TIME: Duration = Duration::from_secs(20);

pub(crate) struct Site {
    /// A connection of the driver's own.
    pub(crate) bus: Bus,
    servers: Servers,
    pool: PgPool,
    coordinator: Child,
    worker: Child,
    folder: PathBuf,
    /// Templates, agents, logs, calls.
    files: PathBuf,
}

impl Site {
    /// Everything in a new folder below `out`.
    pub(crate) async fn start(out: &Path) -> anyhow::Result<Self> {
        let out = std::path::absolute(out)?;
        let folder = out.join(format!("data-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let started = Self::start_in(&folder).await;
        if started.is_err() {
            let _ = std::fs::remove_dir_all(&folder);
        }
        started
    }

    async fn start_in(folder: &Path) -> anyhow::Result<Self> {
        // Beside what belongs to the servers.
        let files = folder.join("files");
        std::fs::create_dir_all(&files)?;
        for load in Load::ALL {
            let file = files.join(format!("{}.workflow.yaml", load.name()));
            std::fs::write(file, load.template())?;
        }
        let agents = AGENTS.map(|(name, keys)| {
            format!("  {name}: {{runtime: external, concurrency: {AGENT_CONCURRENCY}, {keys}}}\n")
        });
        std::fs::write(files.join("agents.yaml"), format!("agents:\n{}", agents.concat()))?;
        // `Options::new` is durable: what is committed survives the machine.
        let servers = Servers::start(Options::new(folder.join("servers"))).await?;
        let config = BusConfig::new(servers.nats_url(), PREFIX, "bench");
        let bus = Bus::connect(config).await?;
        // The role that is measured: a setting of its own would show here.
        let pool = PgPoolOptions::new().max_connections(1).connect(&servers.database_url()).await?;
        let coordinator = child(Role::Coordinator, &servers, &files)?;
        let worker = child(Role::Worker, &servers, &files)?;
        let folder = folder.to_owned();
        let site = Self { bus, servers, pool, coordinator, worker, folder, files };
        machine::assert_durable(&site.pool).await?;
        Ok(site)
    }

    pub(crate) async fn machine(&self) -> anyhow::Result<Machine> {
        Machine::look(&self.pool, self.servers.versions()).await
    }

    /// What was used so far.
    pub(crate) async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let pids = self.servers.pids();
        let pid = |pid: Option<u32>, what: &str| pid.with_context(|| format!("{what} has ended"));
        let processes = [
            (Process::Coordinator, pid(self.coordinator.id(), "the coordinator")?),
            (Process::Worker, pid(self.worker.id(), "the worker")?),
            (Process::Nats, pid(pids.nats, "NATS")?),
            (Process::Postgres, pid(pids.postgres, "PostgreSQL")?),
            (Process::Driver, std::process::id()),
        ];
        // Settings may be changed while a server runs.
        machine::assert_durable(&self.pool).await?;
        Snapshot::take(&self.pool, processes).await
    }

    /// Kills a process (SIGKILL) and starts it anew.
    pub(crate) async fn kill_and_start(&mut self, role: Role) -> anyhow::Result<()> {
        let process = match role {
            Role::Coordinator => &mut self.coordinator,
            Role::Worker => &mut self.worker,
        };
        process.kill().await.with_context(|| format!("cannot kill the {}", role.name()))?;
        *process = child(role, &self.servers, &self.files)?;
        Ok(())
    }

    /// Runs that have not ended.
    pub(crate) async fn open_runs(&self) -> anyhow::Result<i64> {
        let statement = "select count(*) from runs where completed_at is null";
        Ok(sqlx::query_scalar(statement).fetch_one(&self.pool).await?)
    }

    /// Runs of this load that ended otherwise than well, since everything was started.
    pub(crate) async fn runs_not_completed(&self, load: Load) -> anyhow::Result<i64> {
        let statement =
            "select count(*) from runs where template_name = $1 and outcome <> 'completed'";
        let template = format!("{}.workflow.yaml", load.name());
        Ok(sqlx::query_scalar(statement).bind(template).fetch_one(&self.pool).await?)
    }

    /// Fails when a process of ours has ended, with the last it said.
    pub(crate) fn assert_alive(&mut self) -> anyhow::Result<()> {
        for (role, child) in
            [(Role::Coordinator, &mut self.coordinator), (Role::Worker, &mut self.worker)]
        {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("the {} has ended, {status}", role.name());
            }
        }
        Ok(())
    }

    /// The last lines of both logs, for whoever has to find out why it failed.
    pub(crate) fn last_words(&self) -> String {
        let of = |role: Role| {
            let log = self.files.join(format!("{}.log", role.name()));
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            format!("-- {}:\n{last}\n", role.name())
        };
        of(Role::Coordinator) + &of(Role::Worker)
    }

    /// A line for each call of the agent that is counted.
    pub(crate) fn calls(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.files.join(CALLS))?)
    }

    /// Begins to count anew; the worker goes on writing at the end of the file.
    pub(crate) fn forget_calls(&self) -> anyhow::Result<()> {
        Ok(OpenOptions::new().write(true).truncate(true).open(self.files.join(CALLS)).map(drop)?)
    }

    /// Ends everything and removes the data.
    pub(crate) async fn stop(mut self) {
        self.bus.drain().await;
        for child in [&mut self.worker, &mut self.coordinator] {
            drop(child.stdin.take());
            let _ = tokio::time::timeout(STOP_TIME, child.wait()).await;
        }
        self.pool.close().await;
        if let Err(error) = self.servers.destroy().await {
            eprintln!("sluice-bench: the servers' data stay behind: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("sluice-bench: {} stays behind: {error}", self.folder.display());
        }
    }
}

fn child(role: Role, servers: &Servers, files: &Path) -> anyhow::Result<Child> {
    let log = files.join(format!("{}.log", role.name()));
    let log_file = OpenOptions::new().create(true).append(true).open(&log);
    let log = log_file.with_context(|| format!("cannot write {}", log.display()))?;
    // Also when it was built anew meanwhile.
    Command::new("/proc/self/exe")
        .arg(role.name())
        .env(setting::NATS_URL, servers.nats_url())
        .env(setting::DATABASE_URL, servers.database_url())
        .env(setting::DATABASE_OWNER_URL, servers.database_owner_url())
        .env(setting::FOLDER, files)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start the {}", role.name()))
}
