//! `sluice list`: runs, newest first.

use serde_json::Value;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only runs with this status
    #[arg(long)]
    status: Option<String>,
    /// Only runs of this template
    #[arg(long)]
    template: Option<String>,
    /// At most this many
    #[arg(long)]
    limit: Option<u32>,
    /// Leave out this many
    #[arg(long)]
    offset: Option<u32>,
}

pub(crate) async fn run(global: &Global, args: ListArgs) -> Result<(), CliError> {
    let (limit, offset) = (args.limit.map(|n| n.to_string()), args.offset.map(|n| n.to_string()));
    let query: Vec<(&str, &str)> = [
        ("status", &args.status),
        ("template_name", &args.template),
        ("limit", &limit),
        ("offset", &offset),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    .collect();
    let runs: Vec<Value> = super::client(global)?.get(&["workflows"], &query).await?;
    match global.format(Format::Text) {
        Format::Json => output::json(&runs),
        Format::Text => show(&runs),
    }
    Ok(())
}

fn show(runs: &[Value]) {
    let row = |run: &Value| {
        let text = |field: &str| run[field].as_str().unwrap_or("-").to_owned();
        // Seconds are enough for people.
        let started = text("started_at").chars().take(19).collect::<String>();
        [text("workflow_id"), text("status"), text("current_step"), text("template_name"), started]
    };
    if runs.is_empty() {
        output::note("There are no such runs; `sluice template list` shows what can be started.");
        return;
    }
    let rows: Vec<_> = runs.iter().map(row).collect();
    output::table(["WORKFLOW", "STATUS", "STEP", "TEMPLATE", "STARTED (UTC)"], &rows);
}
