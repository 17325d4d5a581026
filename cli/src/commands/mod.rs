//! One file a command.

pub(crate) mod annotate;
pub(crate) mod audit;
pub(crate) mod breakers;
pub(crate) mod cancel;
pub(crate) mod completions;
mod config;
pub(crate) mod coordinator;
pub(crate) mod dead_letters;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod gateway;
pub(crate) mod list;
pub(crate) mod locks;
pub(crate) mod man;
mod next;
pub(crate) mod orchestrator;
pub(crate) mod pause;
pub(crate) mod prompts;
pub(crate) mod replay;
pub(crate) mod restore;
pub(crate) mod resume;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod snapshots;
pub(crate) mod state_at;
pub(crate) mod status;
pub(crate) mod template;
pub(crate) mod verify;
pub(crate) mod watch;
pub(crate) mod why;
pub(crate) mod worker;
mod workers;

use crate::args::{Cli, Command, Global};
use crate::client::Client;
use crate::config::{Config, Flag, key};
use crate::error::CliError;
use crate::{demo, dev, output};

pub(crate) async fn run(cli: Cli) -> Result<(), CliError> {
    let global = &cli.global;
    match cli.command {
        Command::Dev(args) => Box::pin(dev::run(global, args)).await,
        Command::Demo(args) => Box::pin(demo::run(global, args)).await,
        Command::Coordinator(args) => Box::pin(coordinator::run(global, args)).await,
        Command::Worker(args) => Box::pin(worker::run(global, args)).await,
        Command::Gateway(args) => gateway::run(global, args).await,
        Command::Orchestrator(args) => Box::pin(orchestrator::run(global, args)).await,
        Command::Run(args) => run::run(global, args).await,
        Command::Status(args) => status::run(global, args).await,
        Command::Watch(args) => watch::run(global, args).await,
        Command::Resume(args) => resume::run(global, args).await,
        Command::Breakers => breakers::run(global).await,
        Command::Pause(args) => pause::pause(global, args).await,
        Command::Unpause(args) => pause::unpause(global, args).await,
        Command::Cancel(args) => cancel::run(global, args).await,
        Command::Retry(args) => retry::run(global, args).await,
        Command::Events(args) => events::run(global, args).await,
        Command::Export(args) => export::run(global, args).await,
        Command::Audit(args) => audit::run(global, args).await,
        Command::ReportTemplate => {
            output::bytes(sluice_report::DEFAULT_TEMPLATE.as_bytes());
            Ok(())
        }
        Command::Restore(args) => Box::pin(restore::run(global, args)).await,
        Command::Verify(args) => Box::pin(verify::run(global, args)).await,
        Command::Replay(args) => replay::run(global, args).await,
        Command::StateAt(args) => state_at::run(global, args).await,
        Command::Snapshots(args) => snapshots::run(global, args).await,
        Command::Diff(args) => diff::run(global, args).await,
        Command::Annotate(args) => annotate::run(global, args).await,
        Command::List(args) => list::run(global, args).await,
        Command::Locks(args) => locks::run(global, args).await,
        Command::Why(args) => why::run(global, args).await,
        Command::DeadLetters(args) => dead_letters::run(global, args).await,
        Command::Workers => workers::run(global).await,
        Command::Template(args) => template::run(global, args).await,
        Command::Prompts(args) => prompts::run(global, &args),
        Command::Config => config::run(global),
        Command::Doctor(args) => Box::pin(doctor::run(global, args)).await,
        Command::Completions(args) => {
            completions::run(&args);
            Ok(())
        }
        Command::Man(args) => man::run(&args),
    }
}

/// The configuration under these flags and the global ones.
pub(crate) fn load(
    global: &Global,
    flags: impl IntoIterator<Item = Flag>,
) -> Result<Config, CliError> {
    let flags: Vec<Flag> = global.flags().into_iter().chain(flags).collect();
    let env = |name: &str| std::env::var(name).ok();
    Ok(Config::load(&flags, &env, global.config.as_deref())?)
}

/// The gateway that the configuration names.
fn client(global: &Global) -> Result<Client, CliError> {
    Client::new(load(global, [])?.required(key::URL))
}
