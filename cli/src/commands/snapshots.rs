//! `sluice snapshots`: states of a run that are kept.

use serde_json::Value;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice snapshots`.
#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotsArgs {
    /// Id of the run
    id: String,
}

pub(crate) async fn run(global: &Global, args: SnapshotsArgs) -> Result<(), CliError> {
    let path = ["workflow", &args.id, "snapshots"];
    let kept: Vec<Value> = super::client(global)?.get(&path, &[]).await?;
    match global.format(Format::Json) {
        Format::Json => output::json(&kept),
        Format::Text => {
            let row = |snapshot: &Value| {
                let id = snapshot["snapshot_id"].as_str().unwrap_or("-").to_owned();
                let at = output::seconds(&snapshot["created_at"]);
                [snapshot["event_count"].to_string(), at, id]
            };
            let rows: Vec<_> = kept.iter().map(row).collect();
            output::table(["EVENTS", "KEPT (UTC)", "SNAPSHOT"], &rows);
        }
    }
    Ok(())
}
