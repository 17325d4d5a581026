//! The one binary: every role, every client command, `sluice dev` and `sluice demo`.

mod args;
mod client;
mod commands;
mod config;
mod demo;
mod dev;
mod embedded;
mod error;
mod example;
mod export_file;
mod graph;
mod logging;
mod names;
mod output;
mod progress;
mod roles;
mod signals;
mod tokens;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::error::CliError;

fn main() -> ExitCode {
    // Twice in one process cannot happen, and a provider that is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| CliError::Failed(format!("no threads to work with: {error}")))?;
    let outcome = runtime.block_on(commands::run(cli));
    // Whatever still runs has been given its time to stop.
    runtime.shutdown_background();
    outcome
}
