//! `sluice coordinator`: a coordinator as a process of its own.

use crate::args::{Global, flag};
use crate::config::{Config, Flag, key};
use crate::error::CliError;
use crate::logging;
use crate::roles::{self, Databases};
use crate::signals::StopSignals;

/// Arguments of `sluice coordinator`.
#[derive(Debug, clap::Args)]
pub(crate) struct CoordinatorArgs {
    /// Folder of templates [env: SLUICE_TEMPLATES_DIR] [default: those that come with the binary]
    #[arg(long, value_name = "DIR")]
    templates: Option<String>,
    /// File that describes the agents [env: SLUICE_AGENTS_FILE]
    #[arg(long, value_name = "FILE")]
    agents_file: Option<String>,
    /// NATS server [env: SLUICE_NATS_URL]
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
}

impl CoordinatorArgs {
    /// The settings that were given.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let flags = [
            flag(key::TEMPLATES_DIR, "--templates", self.templates.as_ref()),
            flag(key::AGENTS_FILE, "--agents-file", self.agents_file.as_ref()),
            flag(key::NATS_URL, "--nats-url", self.nats_url.as_ref()),
        ];
        flags.into_iter().flatten().collect()
    }
}

pub(crate) async fn run(global: &Global, args: CoordinatorArgs) -> Result<(), CliError> {
    let config = super::load(global, args.flags())?;
    logging::start(&config, None)?;
    let mut signals = StopSignals::listen()?;
    let coordinator = tokio::select! {
        started = Box::pin(start(&config)) => started?,
        () = signals.next() => return Ok(()),
    };
    tracing::info!("coordinator is ready");
    signals.next().await;
    tracing::info!("coordinator stops");
    signals.unless_hurried(coordinator.stop()).await;
    Ok(())
}

/// What can be wrong in the configuration is found before anything is connected.
pub(super) async fn start(config: &Config) -> Result<sluice_coordinator::Coordinator, CliError> {
    let event_secret = roles::event_secret(config)?;
    let agents = roles::agents(config)?;
    let databases = Databases {
        url: config.needed(key::DATABASE_URL, "a coordinator")?.to_owned(),
        owner_url: config.text(key::DATABASE_OWNER_URL).map(str::to_owned),
    };
    roles::templates(config)?;
    let bus = roles::connect(config, config.required(key::NATS_URL), "coordinator").await?;
    roles::coordinator(config, bus, databases, &agents, event_secret).await
}
