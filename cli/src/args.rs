//! The command line. A new command is a file below `commands/` and one line in [`Command`].

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::config::{Flag, key};
use crate::output::Format;

/// Runs declarative workflows through agents, with people at the gates.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What is done.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Everything that goes for all commands.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// Gateway that client commands talk to [env: SLUICE_URL] [default: http://localhost:8001]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    url: Option<String>,
    /// Output for people or for programs; each command has its own default
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        env = "SLUICE_OUTPUT",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    output: Option<Format>,
    /// Configuration file [env: SLUICE_CONFIG] [default: sluice.yaml, if there is one]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
}

impl Global {
    /// The format asked for, or the command's own.
    pub(crate) fn format(&self, default: Format) -> Format {
        self.output.unwrap_or(default)
    }

    pub(crate) fn flags(&self) -> Vec<Flag> {
        flag(key::URL, "--url", self.url.as_ref()).into_iter().collect()
    }
}

/// A flag that sets `key`, when it was given.
pub(crate) fn flag(key: &'static str, name: &'static str, value: Option<&String>) -> Option<Flag> {
    value.map(|value| Flag { key, name, value: value.clone() })
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: servers, coordinator, worker, gateway
    Dev(crate::dev::DevArgs),
    /// Take a pull request of the example through review, tests and an approval to production
    Demo(crate::demo::DemoArgs),
    /// Run a coordinator: takes requests, keeps the state of runs
    Coordinator(commands::coordinator::CoordinatorArgs),
    /// Run a worker: runs agents
    Worker(commands::worker::WorkerArgs),
    /// Run a gateway: serves the HTTP API
    Gateway(commands::gateway::GatewayArgs),
    /// Run a coordinator and a gateway in one process
    Orchestrator(commands::orchestrator::OrchestratorArgs),
    /// Start a run of a template
    Run(commands::run::RunArgs),
    /// Show where a run is
    Status(commands::status::StatusArgs),
    /// Follow a run until it ends or waits for a person
    Watch(commands::watch::WatchArgs),
    /// Approve or reject what a paused run waits for
    Resume(commands::resume::ResumeArgs),
    /// End a run: agents are told, locks handed over, approvals closed
    Cancel(commands::cancel::CancelArgs),
    /// Hold a run up: what is under way is recorded, nothing new begins
    Pause(commands::pause::PauseArgs),
    /// Let a run go on that was held up with `pause`; decides no approval
    Unpause(commands::pause::UnpauseArgs),
    /// Have a failed run go on from a step
    Retry(commands::retry::RetryArgs),
    /// Show steps that keep failing across runs, and when they are tried again
    Breakers,
    /// Show a run's events: filtered, or as they come
    Events(commands::events::EventsArgs),
    /// Write a run's whole record into a file
    Export(commands::export::ExportArgs),
    /// Write reports about runs, verified; move old ones into the archive, and into files
    Audit(commands::audit::AuditArgs),
    /// Print the template of reports, to restyle it
    ReportTemplate,
    /// Write runs that have ended back into a database, from files of `sluice audit`
    Restore(commands::restore::RestoreArgs),
    /// Check a record: of a run, of an exported file, of a database
    Verify(commands::verify::VerifyArgs),
    /// Fold a run's events and compare with what is stored; asks no agent
    Replay(commands::replay::ReplayArgs),
    /// Show a run as it was at a moment, or after the event of a number
    StateAt(commands::state_at::StateAtArgs),
    /// List the states of a run that are kept
    Snapshots(commands::snapshots::SnapshotsArgs),
    /// Show what happened to a run between two moments
    Diff(commands::diff::DiffArgs),
    /// Write something down about a run, as one of its events
    Annotate(commands::annotate::AnnotateArgs),
    /// List runs
    List(commands::list::ListArgs),
    /// Say what a run waits for, since when, and who can move it
    Why(commands::why::WhyArgs),
    /// List messages that could not be processed; send them again, or drop them
    DeadLetters(commands::dead_letters::DeadLettersArgs),
    /// List locks: who holds them, who waits; take one away
    Locks(commands::locks::LocksArgs),
    /// List workers: who is there, and what they hold
    Workers,
    /// List or check templates
    Template(commands::template::TemplateArgs),
    /// Check or count the prompts of agents that are models
    Prompts(commands::prompts::PromptsArgs),
    /// Show every setting, and where it comes from
    Config,
    /// Check what Sluice needs on this machine
    Doctor(commands::doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completions(commands::completions::CompletionsArgs),
    /// Write manual pages into a folder
    Man(commands::man::ManArgs),
}
