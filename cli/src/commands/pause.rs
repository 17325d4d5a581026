//! `sluice pause` and `sluice unpause`: an operator holds a run up, or lets it go on.

use serde_json::{Value, json};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice pause`.
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// Id of the run
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Who
    #[arg(long, value_name = "NAME", default_value = "unknown")]
    by: String,
}

/// Arguments of `sluice unpause`.
#[derive(Debug, clap::Args)]
pub(crate) struct UnpauseArgs {
    /// Id of the run
    id: String,
    /// Who
    #[arg(long, value_name = "NAME", default_value = "unknown")]
    by: String,
}

pub(crate) async fn pause(global: &Global, args: PauseArgs) -> Result<(), CliError> {
    let body = json!({"reason": args.reason, "paused_by": args.by});
    let path = ["workflow", &args.id, "pause"];
    show(global, &args.id, super::client(global)?.post(&path, &body).await?)
}

pub(crate) async fn unpause(global: &Global, args: UnpauseArgs) -> Result<(), CliError> {
    let body = json!({"unpaused_by": args.by});
    let path = ["workflow", &args.id, "unpause"];
    show(global, &args.id, super::client(global)?.post(&path, &body).await?)
}

fn show(global: &Global, id: &str, answer: Value) -> Result<(), CliError> {
    match global.format(Format::Json) {
        Format::Json => output::json(&answer),
        Format::Text => {
            output::line(format!("{id}: {}", answer["status"].as_str().unwrap_or("-")));
        }
    }
    Ok(())
}
