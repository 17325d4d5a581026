//! `sluice coordinator`: a coordinator as a process of its own.

use crate::args::{Global, flag};
use crate::config::{Config, key};
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

pub(crate) async fn run(global: &Global, args: CoordinatorArgs) -> Result<(), CliError> {
    let config = super::load(
        global,
        [
            flag(key::TEMPLATES_DIR, "--templates", args.templates.as_ref()),
            flag(key::AGENTS_FILE, "--agents-file", args.agents_file.as_ref()),
            flag(key::NATS_URL, "--nats-url", args.nats_url.as_ref()),
        ]
        .into_iter()
        .flatten(),
    )?;
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
async fn start(config: &Config) -> Result<sluice_coordinator::Coordinator, CliError> {
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
