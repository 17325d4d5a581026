//! From start to stop: servers, then the roles, then something to do, and all of it back in order.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_gateway::GatewayError;
use sluice_servers::{Exit, Options, Progress, Servers};
use sluice_worker::AgentsFile;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

use super::folder::DataFolder;
use super::stack::Stack;
use crate::config::{Config, key};
use crate::error::CliError;
use crate::example::{self, Example, Unpacked};
use crate::signals::{StopSignals, Stopped};
use crate::{output, roles};

/// How long the roles may take to stop; each of their own limits is shorter.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_AFTER_DEATH: Duration = Duration::from_secs(2);
/// Folder of `sluice demo` in a data folder.
pub(crate) const DEMO: &str = "demo";

/// What is to be started.
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) data: PathBuf,
    pub(crate) fresh: bool,
    pub(crate) agents: Agents,
}

/// Whose agents work.
#[derive(Clone, Debug)]
pub(crate) enum Agents {
    /// Those of the file that the configuration names.
    Named,
    /// Those that come with the binary.
    Example(Example),
}

impl Agents {
    pub(crate) fn example_in(folder: &Path) -> Self {
        // Commands that are shown to people work from any folder.
        Self::Example(Example::in_folder(std::path::absolute(folder).unwrap_or(folder.to_owned())))
    }
}

/// Everything that runs.
pub(crate) struct Up<'a> {
    pub(crate) config: &'a Config,
    pub(super) folder: &'a DataFolder,
    pub(super) servers: &'a Servers,
    pub(super) stack: &'a Stack,
    pub(super) agents: &'a Agents,
    pub(super) names: Vec<String>,
}

impl Up<'_> {
    /// Where the gateway answers.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.stack.gateway.addr())
    }
}

/// Starts everything, lets `work` do something with it, and stops everything in order. Ends with what
/// `work` gave, or with none when somebody wanted to stop before.
pub(crate) async fn run<T>(
    plan: Plan,
    work: impl AsyncFnOnce(&Up<'_>) -> Result<T, CliError>,
) -> Result<Option<T>, CliError> {
    let mut signals = StopSignals::listen()?;
    spawn_blocking({
        let agents = plan.agents.clone();
        move || check_agents(&agents)
    })
    .await
    .map_err(|error| CliError::Failed(error.to_string()))??;
    check_early(&plan)?;
    let progress = Progress::new(|line| output::note(format!("· {line}")));
    let folder = prepare(&plan, &progress).await?;

    let Some(servers) = start_servers(&folder, progress, &mut signals).await? else {
        return Ok(None);
    };
    let outcome = serve(&plan, &folder, &servers, &mut signals, work).await;
    if signals.unless_hurried(servers.stop()).await == Stopped::InOrder && outcome.is_ok() {
        output::note("· stopped; the data stay");
    }
    outcome
}

fn check_agents(agents: &Agents) -> Result<(), CliError> {
    match agents {
        Agents::Named => Ok(()),
        Agents::Example(_) => example::check_tools(),
    }
}

/// Finds what would fail later before servers are fetched and started.
fn check_early(plan: &Plan) -> Result<(), CliError> {
    let config = &plan.config;
    if matches!(plan.agents, Agents::Named) {
        roles::agents(config)?;
    }
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

async fn prepare(plan: &Plan, progress: &Progress) -> Result<DataFolder, CliError> {
    let failed = |error: JoinError| CliError::Failed(error.to_string());
    if plan.fresh {
        let (data, progress) = (plan.data.clone(), progress.clone());
        // Refused while somebody works on the folder, so this comes first.
        spawn_blocking(move || DataFolder::wipe(&data, &progress)).await.map_err(failed)??;
        for folder in [plan.data.join(DEMO), plan.data.clone()] {
            Example::in_folder(folder).erase().await?;
        }
    }
    let (data, own_secret) = (plan.data.clone(), !plan.config.is_chosen(key::EVENT_SECRET));
    let open = move || {
        let folder = DataFolder::open(&data)?;
        if own_secret {
            folder.event_secret()?;
        }
        Ok(folder)
    };
    spawn_blocking(open).await.map_err(failed)?
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

async fn serve<T>(
    plan: &Plan,
    folder: &DataFolder,
    servers: &Servers,
    signals: &mut StopSignals,
    work: impl AsyncFnOnce(&Up<'_>) -> Result<T, CliError>,
) -> Result<Option<T>, CliError> {
    let agents = load_agents(plan).await?;
    let names = agents.agents().map(|agent| agent.name.to_string()).collect();
    let stack = tokio::select! {
        started = Box::pin(Stack::start(&plan.config, folder, servers, agents)) => started?,
        exit = servers.exited() => return Err(died(&exit)),
        () = signals.next() => return Ok(None),
    };
    let (config, agents) = (&plan.config, &plan.agents);
    let up = Up { config, folder, servers, stack: &stack, agents, names };
    let outcome = tokio::select! {
        exit = servers.exited() => Err(Ended::Died(exit)),
        () = signals.next() => Ok(None),
        done = work(&up) => done.map(Some).map_err(Ended::Failed),
    };
    drop(up);
    // Without its servers nothing can be finished in good order.
    let limit = match &outcome {
        Err(Ended::Died(exit)) => {
            let server = exit.server.name();
            output::note(format!("· {server} ended unexpectedly; stopping everything"));
            LIMIT_AFTER_DEATH
        }
        _ => {
            output::note("· stopping: gateway, worker, coordinator, servers; Ctrl-C again hurries");
            LIMIT
        }
    };
    let stopping = Box::pin(timeout(limit, stack.stop()));
    signals.unless_hurried(async { stopping.await.unwrap_or_default() }).await;
    outcome.map_err(|ended| match ended {
        Ended::Died(exit) => died(&exit),
        Ended::Failed(error) => error,
    })
}

/// Why it did not end well.
enum Ended {
    Died(Exit),
    Failed(CliError),
}

/// The agents of the plan; the example is unpacked first. The servers run: nobody else works on this
/// data folder.
async fn load_agents(plan: &Plan) -> Result<AgentsFile, CliError> {
    let example = match &plan.agents {
        Agents::Named => return roles::agents(&plan.config),
        Agents::Example(example) => example.clone(),
    };
    let loaded = spawn_blocking(move || {
        let (program, before) = (example.program(), example.before());
        match example.unpack()? {
            Unpacked::AsItWas => {}
            Unpacked::New => output::note(format!("· unpacked the example: {}", program.display())),
            Unpacked::Replaced => output::note(format!(
                "· unpacked the example anew; what was there is {} now",
                before.display()
            )),
        }
        Ok(AgentsFile::load(&example.agents_file())?)
    });
    loaded.await.map_err(|error| CliError::Failed(error.to_string()))?
}

fn died(exit: &Exit) -> CliError {
    let (server, status, log, tail) =
        (exit.server.name(), &exit.status, exit.log.display(), &exit.tail);
    CliError::Failed(format!("{server} ended unexpectedly ({status}); the end of {log}:\n{tail}"))
}
