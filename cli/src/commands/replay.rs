//! `sluice replay`: folds a run's events and compares with what is stored of it.

use serde_json::{Value, json};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Id of the run
    id: String,
}

/// What is stored otherwise than the events have it is an error.
pub(crate) async fn run(global: &Global, args: ReplayArgs) -> Result<(), CliError> {
    let client = super::client(global)?;
    let answer: Value = client.post(&["workflow", &args.id, "replay"], &json!({})).await?;
    let differences: Vec<&Value> = answer["differences"].as_array().into_iter().flatten().collect();
    match global.format(Format::Json) {
        Format::Json => output::json(&answer),
        Format::Text => {
            let status = answer["final_state"]["status"].as_str().unwrap_or("-");
            output::line(format!(
                "{}: {} events lead to {status}",
                args.id, answer["total_events"]
            ));
            for difference in &differences {
                output::line(format!(
                    "  {}: stored is {}, the events have {}",
                    difference["what"].as_str().unwrap_or("-"),
                    difference["stored"],
                    difference["replayed"]
                ));
            }
        }
    }
    match answer["matches"] == true {
        true => Ok(()),
        false => Err(CliError::Failed(format!(
            "what is stored of {} differs from its events in {} places; `sluice verify {}` says whether the record is whole",
            args.id,
            differences.len(),
            args.id
        ))),
    }
}
