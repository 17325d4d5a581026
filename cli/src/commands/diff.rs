//! `sluice diff`: what happened to a run between two moments.

use serde_json::Value;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// Id of the run
    id: String,
    /// A moment (RFC 3339, with its offset), or the number of an event; 0 is before the first
    #[arg(value_name = "MOMENT|NUMBER")]
    from: String,
    /// The same, and not earlier
    #[arg(value_name = "MOMENT|NUMBER")]
    to: String,
}

pub(crate) async fn run(global: &Global, args: DiffArgs) -> Result<(), CliError> {
    let query = [("from", &*args.from), ("to", &*args.to)];
    let answer: Value = super::client(global)?.get(&["workflow", &args.id, "diff"], &query).await?;
    match global.format(Format::Text) {
        Format::Json => output::json(&answer),
        Format::Text => show(&answer),
    }
    Ok(())
}

fn show(answer: &Value) {
    let place = |name: &str| {
        let place = &answer[name];
        format!("event {} ({})", place["sequence"], place["status"].as_str().unwrap_or("-"))
    };
    output::line(format!("from {} to {}", place("from"), place("to")));
    for event in answer["events"].as_array().into_iter().flatten() {
        let text = |field: &str| event[field].as_str().unwrap_or_default();
        output::line(format!(
            "  {:>5}  {}  {} {}",
            event["sequence"],
            text("timestamp"),
            text("action"),
            text("step_id")
        ));
    }
    for change in answer["changes"].as_array().into_iter().flatten() {
        let path = change["path"].as_str().unwrap_or_default();
        if let Some(before) = change.get("before") {
            output::line(format!("- {path}: {before}"));
        }
        if let Some(after) = change.get("after") {
            output::line(format!("+ {path}: {after}"));
        }
    }
}
