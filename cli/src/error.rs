//! Why a command failed, and the exit code that says so: 1 it was refused, 2 it was asked wrongly,
//! 3 nothing answers.

use std::path::PathBuf;

use sluice_bus::BusError;
use sluice_coordinator::StartError;
use sluice_gateway::GatewayError;
use sluice_proto::error::ApiError;
use sluice_worker::{AgentsError, WorkerError};

use crate::config::ConfigError;

/// Why a command failed; each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{}", refusal(.0))]
    Refused(ApiError),
    #[error("{url} answered {status}, and not in our words: {body}")]
    Strange { url: String, status: u16, body: String },
    #[error(
        "nothing answers at {url} ({reason}); start it with `sluice dev` or `sluice gateway`, \
         or name another with --url or SLUICE_URL"
    )]
    Unreachable { url: String, reason: String },
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Agents(#[from] AgentsError),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{0}; is nats-server running, and does SLUICE_NATS_URL name it?")]
    Bus(#[from] BusError),
    #[error("{0}; is it running, and does SLUICE_DATABASE_URL name it?")]
    Database(StartError),
    #[error("the coordinator cannot start: {0}")]
    Coordinator(StartError),
    #[error("the gateway cannot start: {0}")]
    Gateway(#[from] GatewayError),
    #[error("the worker cannot start: {0}")]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    Servers(#[from] sluice_servers::Error),
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Unreachable { .. }
            | Self::Database(_)
            | Self::Bus(BusError::Connect { .. } | BusError::NotConnected) => 3,
            _ => 1,
        }
    }

    /// Names what was done to which file.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Bus(error) => Self::Bus(error),
            StartError::DatabaseAway { .. } => Self::Database(error),
            other => Self::Coordinator(other),
        }
    }
}

/// The detail, and a line for every problem that it does not name itself.
fn refusal(error: &ApiError) -> String {
    let mut text = error.detail.clone();
    for problem in error.errors.iter().filter(|problem| !error.detail.contains(&problem.message)) {
        text.push_str(&format!("\n  {}: {}", problem.field, problem.message));
    }
    text
}
