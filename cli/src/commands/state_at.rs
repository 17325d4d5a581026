//! `sluice state-at`: a run as it was at a moment.

use serde_json::Value;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice state-at`.
#[derive(Debug, clap::Args)]
pub(crate) struct StateAtArgs {
    /// Id of the run
    id: String,
    /// A moment (RFC 3339, with its offset), or the number of an event; 0 is before the first
    #[arg(value_name = "MOMENT|NUMBER")]
    at: String,
}

pub(crate) async fn run(global: &Global, args: StateAtArgs) -> Result<(), CliError> {
    let path = ["workflow", &args.id, "state-at", &args.at];
    let answer: Value = super::client(global)?.get(&path, &[]).await?;
    match global.format(Format::Json) {
        Format::Json => output::json(&answer),
        Format::Text => {
            let state = &answer["state"];
            let text = |field: &str| state[field].as_str().unwrap_or("-").to_owned();
            output::line(format!("after event  {}", answer["sequence"]));
            output::line(format!("status       {}", text("status")));
            output::line(format!("step         {}", text("current_step")));
        }
    }
    Ok(())
}
