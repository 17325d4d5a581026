//! `sluice dev`: every role in one process, with a NATS server and a PostgreSQL of its own.

mod banner;
mod folder;
mod stack;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use sluice_gateway::GatewayError;
use sluice_servers::{Exit, Options, Progress, Servers};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::args::{Global, flag};
use crate::config::{Config, key};
use crate::error::CliError;
use crate::signals::{StopSignals, Stopped};
use crate::{commands, logging, output, roles};
use folder::DataFolder;
use stack::Stack;

/// How long the roles may take to stop; each of their own limits is shorter.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_AFTER_DEATH: Duration = Duration::from_secs(2);

/// Arguments of `sluice dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Folder that keeps everything; data survive a restart
    #[arg(long, value_name = "DIR", default_value = "./.sluice")]
    data: PathBuf,
    /// Folder of templates [env: SLUICE_TEMPLATES_DIR] [default: those that come with the binary]
    #[arg(long, value_name = "DIR")]
    templates: Option<String>,
    /// File that describes the agents [env: SLUICE_AGENTS_FILE]
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
    logging::start(&config, Some("warn"))?;
    let mut signals = StopSignals::listen()?;
    check_early(&config)?;
    let progress = Progress::new(|line| output::note(format!("· {line}")));
    let folder = spawn_blocking({
        let progress = progress.clone();
        move || prepare(&args, &progress)
    });
    let folder = folder.await.map_err(|error| CliError::Failed(error.to_string()))??;

    let Some(servers) = start_servers(&folder, progress, &mut signals).await? else {
        return Ok(());
    };
    let outcome = serve(&config, &folder, &servers, &mut signals).await;
    let outcome = match outcome {
        Ok(Some(exit)) => Err(died(&exit)),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if signals.unless_hurried(servers.stop()).await == Stopped::InOrder && outcome.is_ok() {
        output::note("· stopped; the data stay");
    }
    outcome
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

/// Finds what would fail later before servers are fetched and started.
fn check_early(config: &Config) -> Result<(), CliError> {
    roles::agents(config)?;
    roles::templates(config)?;
    if config.is_chosen(key::EVENT_SECRET) {
        roles::event_secret(config)?;
    }
    check_free(
        config.addr(key::GATEWAY_ADDR),
        "the gateway",
        "--gateway-addr",
        "SLUICE_GATEWAY_ADDR",
    )?;
    check_free(
        config.addr(key::STATE_ADDR),
        "the state service",
        "--state-addr",
        "SLUICE_STATE_ADDR",
    )
}

fn check_free(
    addr: SocketAddr,
    what: &'static str,
    flag: &'static str,
    variable: &'static str,
) -> Result<(), CliError> {
    match TcpListener::bind(addr) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(GatewayError::PortTaken { what, addr, flag, variable }.into())
        }
        // Any other trouble is told by the gateway itself.
        _ => Ok(()),
    }
}

fn prepare(args: &DevArgs, progress: &Progress) -> Result<DataFolder, CliError> {
    if args.fresh {
        DataFolder::wipe(&args.data, progress)?;
    }
    DataFolder::open(&args.data)
}

/// None: somebody wanted to stop meanwhile, and nothing runs.
async fn start_servers(
    folder: &DataFolder,
    progress: Progress,
    signals: &mut StopSignals,
) -> Result<Option<Servers>, CliError> {
    let options = Options { progress, ..Options::new(folder.root()) };
    let mut starting = Box::pin(Servers::start(options));
    tokio::select! {
        started = &mut starting => return Ok(Some(started?)),
        () = signals.next() => output::note("· stopping as soon as the servers can be stopped; Ctrl-C again hurries"),
    }
    // A cluster that is half made would be in the way of the next start.
    let stopping = async {
        if let Ok(servers) = starting.await {
            servers.stop().await;
        }
    };
    signals.unless_hurried(stopping).await;
    Ok(None)
}

/// Serves until somebody wants to stop (none) or a server dies (its exit).
async fn serve(
    config: &Config,
    folder: &DataFolder,
    servers: &Servers,
    signals: &mut StopSignals,
) -> Result<Option<Exit>, CliError> {
    let stack = tokio::select! {
        started = Box::pin(Stack::start(config, folder, servers)) => started?,
        exit = servers.exited() => return Ok(Some(exit)),
        () = signals.next() => return Ok(None),
    };
    banner::show(&stack, folder, servers).await;
    let exit = tokio::select! {
        exit = servers.exited() => Some(exit),
        () = signals.next() => None,
    };
    match &exit {
        None => {
            output::note("· stopping: gateway, worker, coordinator, servers; Ctrl-C again hurries")
        }
        Some(exit) => output::note(format!(
            "· {} ended unexpectedly; stopping everything",
            exit.server.name()
        )),
    }
    // Without its servers nothing can be finished in good order.
    let limit = if exit.is_some() { LIMIT_AFTER_DEATH } else { LIMIT };
    let stopping = Box::pin(timeout(limit, stack.stop()));
    signals.unless_hurried(async { stopping.await.unwrap_or_default() }).await;
    Ok(exit)
}

fn died(exit: &Exit) -> CliError {
    let (server, status, log, tail) =
        (exit.server.name(), &exit.status, exit.log.display(), &exit.tail);
    CliError::Failed(format!("{server} ended unexpectedly ({status}); the end of {log}:\n{tail}"))
}
