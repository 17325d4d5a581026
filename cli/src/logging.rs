//! Logs of the roles, on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, key};
use crate::error::CliError;
use crate::output;

/// Starts logging at the configured level, or at `quiet` when nobody chose one.
pub(crate) fn start(config: &Config, quiet: Option<&str>) -> Result<(), CliError> {
    let level = match quiet {
        Some(level) if !config.is_chosen(key::LOG) => level,
        _ => config.required(key::LOG),
    };
    let filter = EnvFilter::try_new(level).map_err(|error| {
        CliError::Usage(format!("log '{level}': {error}; use a level like info, or target=level"))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(output::has_colours(&io::stderr()))
        .init();
    Ok(())
}
