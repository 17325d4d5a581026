//! `sluice dev`: every role in one process, with a NATS server and a PostgreSQL of its own.

mod banner;
mod folder;
pub(crate) mod session;
mod stack;

use std::future::pending;
use std::path::PathBuf;

use crate::args::{Global, flag};
use crate::config::{Config, key};
use crate::error::CliError;
use crate::{commands, logging, output};
pub(crate) use session::{Agents, DEMO, Plan, Up};

/// Arguments of `sluice dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Folder that keeps everything; data survive a restart
    #[arg(long, value_name = "DIR", default_value = "./.sluice")]
    data: PathBuf,
    /// Folder of templates [env: SLUICE_TEMPLATES_DIR] [default: those that come with the binary]
    #[arg(long, value_name = "DIR")]
    templates: Option<String>,
    /// File that describes the agents [env: SLUICE_AGENTS_FILE] [default: the example's]
    #[arg(long, value_name = "FILE")]
    agents: Option<String>,
    /// Where every route is served [env: SLUICE_GATEWAY_ADDR] [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDR")]
    gateway_addr: Option<String>,
    /// Where the reading routes are served [env: SLUICE_STATE_ADDR] [default: 127.0.0.1:8008]
    #[arg(long, value_name = "ADDR")]
    state_addr: Option<String>,
    /// Wipe the data folder first
    #[arg(long)]
    fresh: bool,
}

pub(crate) async fn run(global: &Global, args: DevArgs) -> Result<(), CliError> {
    let config = load(global, &args)?;
    // Messages to people are meant to be seen; where they go is the log so far.
    logging::start(&config, Some("warn,sluice_worker::channel=info"))?;
    let agents = match config.is_chosen(key::AGENTS_FILE) {
        true => Agents::Named,
        false => Agents::example_in(&args.data),
    };
    let plan = Plan { config, data: args.data, fresh: args.fresh, agents };
    let agents = plan.agents.clone();
    let until_stopped = async |up: &Up<'_>| {
        banner::show(up).await;
        pending::<Result<(), CliError>>().await
    };
    session::run(plan, until_stopped).await?;
    tell_what_runs_on(&agents).await;
    Ok(())
}

/// Services of the example are no part of Sluice and outlive it.
pub(crate) async fn tell_what_runs_on(agents: &Agents) {
    let Agents::Example(example) = agents else { return };
    match example.running().await {
        Ok(running) if running.is_empty() => {}
        Ok(_) => output::note(format!(
            "· services of the example run on; `{}` ends them",
            example.by_hand("stop")
        )),
        Err(error) => tracing::warn!(%error, "nobody knows whether services of the example run on"),
    }
}

fn load(global: &Global, args: &DevArgs) -> Result<Config, CliError> {
    let flags = [
        flag(key::TEMPLATES_DIR, "--templates", args.templates.as_ref()),
        flag(key::AGENTS_FILE, "--agents", args.agents.as_ref()),
        flag(key::GATEWAY_ADDR, "--gateway-addr", args.gateway_addr.as_ref()),
        flag(key::STATE_ADDR, "--state-addr", args.state_addr.as_ref()),
    ];
    let config = commands::load(global, flags.into_iter().flatten())?;
    for key in [key::NATS_URL, key::DATABASE_URL] {
        if config.is_chosen(key) {
            let origin = &config.entry(key).origin;
            output::note(format!(
                "· {key} ({origin}) is not used: `sluice dev` runs servers of its own"
            ));
        }
    }
    Ok(config)
}
