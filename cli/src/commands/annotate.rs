//! `sluice annotate`: writes something down about a run, as one of its events.

use serde_json::{Value, json};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice annotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct AnnotateArgs {
    /// Id of the run
    id: String,
    /// What is written down
    comment: String,
    /// Who writes
    #[arg(long, value_name = "NAME", default_value = "system")]
    operator: String,
    /// The event it is about
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
}

pub(crate) async fn run(global: &Global, args: AnnotateArgs) -> Result<(), CliError> {
    let mut body = json!({"operator": args.operator, "comment": args.comment});
    if let Some(event_id) = args.event_id.filter(|id| !id.is_empty()) {
        body["event_id"] = event_id.into();
    }
    let answer: Value =
        super::client(global)?.post(&["workflow", &args.id, "annotate"], &body).await?;
    match global.format(Format::Json) {
        Format::Json => output::json(&answer),
        Format::Text => {
            let number = &answer["annotation"]["sequence"];
            output::line(format!("{}: written down as event {number}", args.id));
        }
    }
    Ok(())
}
