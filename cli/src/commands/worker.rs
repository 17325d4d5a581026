//! `sluice worker`: a worker as a process of its own.

use std::time::Duration;

use sluice_proto::ids::AgentName;

use crate::args::{Global, flag};
use crate::config::{Config, key};
use crate::error::CliError;
use crate::logging;
use crate::roles::{self, Share};
use crate::signals::StopSignals;

/// Arguments of `sluice worker`.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// Run only these agents [default: all of the agents file]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    agents: Option<Vec<AgentName>>,
    /// What this worker is called, the same after every restart [env: SLUICE_WORKER_NAME]
    /// [default: the host's name, numbered if it is in use]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Attempts at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    concurrency: usize,
    /// Seconds that agents may go on when the worker is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u64,
    /// File that describes the agents [env: SLUICE_AGENTS_FILE]
    #[arg(long, value_name = "FILE")]
    agents_file: Option<String>,
    /// NATS server [env: SLUICE_NATS_URL]
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
}

pub(crate) async fn run(global: &Global, args: WorkerArgs) -> Result<(), CliError> {
    let flags = [
        flag(key::AGENTS_FILE, "--agents-file", args.agents_file.as_ref()),
        flag(key::NATS_URL, "--nats-url", args.nats_url.as_ref()),
        flag(key::WORKER_NAME, "--name", args.name.as_ref()),
    ];
    let config = super::load(global, flags.into_iter().flatten())?;
    logging::start(&config, None)?;
    let mut signals = StopSignals::listen()?;
    let share = Share { only: args.agents, concurrency: args.concurrency };
    let worker = tokio::select! {
        started = Box::pin(start(&config, share)) => started?,
        () = signals.next() => return Ok(()),
    };
    let expelled = tokio::select! {
        () = signals.next() => None,
        reason = worker.expelled() => Some(reason),
    };
    tracing::info!("worker stops; a second signal hurries");
    signals.unless_hurried(Box::pin(worker.stop(Duration::from_secs(args.grace)))).await;
    expelled.map_or(Ok(()), |reason| Err(CliError::Failed(reason)))
}

async fn start(config: &Config, share: Share) -> Result<sluice_worker::Worker, CliError> {
    let agents = roles::agents(config)?;
    let bus = roles::connect(config, config.required(key::NATS_URL), "worker").await?;
    roles::worker(config, bus, agents, share, roles::naming(config)?).await
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a number from 1".to_owned())
}
