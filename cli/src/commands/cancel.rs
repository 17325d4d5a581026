//! `sluice cancel`: ends a run and cleans up after it.

use serde_json::Value;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice cancel`.
#[derive(Debug, clap::Args)]
pub(crate) struct CancelArgs {
    /// Id of the run
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "User requested cancellation")]
    reason: String,
    /// Who cancels
    #[arg(long, alias = "by", value_name = "NAME", default_value = "unknown")]
    cancelled_by: String,
    /// End it at once, without what the template does on a cancellation
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(global: &Global, args: CancelArgs) -> Result<(), CliError> {
    let force = if args.force { "true" } else { "false" };
    let query =
        [("reason", &*args.reason), ("cancelled_by", &*args.cancelled_by), ("force", force)];
    let client = super::client(global)?;
    let answer: Value = client.delete(&["workflow", &args.id], &query).await?;
    match global.format(Format::Json) {
        Format::Json => output::json(&answer),
        Format::Text => {
            let status = answer["status"].as_str().unwrap_or("-");
            let step = answer["on_cancel"].as_str();
            let first = step.map_or_else(String::new, |step| format!(", '{step}' comes first"));
            output::line(format!("{}: {status}{first}", args.id));
            let items = answer["cleanup"].as_object();
            for (what, count) in items.into_iter().flatten().filter(|(what, _)| *what != "errors") {
                output::line(format!("  {}: {count}", what.replace('_', " ")));
            }
            for error in answer["cleanup"]["errors"].as_array().into_iter().flatten() {
                output::line(format!("  not done: {}", error.as_str().unwrap_or("-")));
            }
        }
    }
    Ok(())
}
