//! `sluice why`: what a run waits for, and who can move it.

use serde_json::Value;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice why`.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// Id of the run
    id: String,
}

pub(crate) async fn run(global: &Global, args: WhyArgs) -> Result<(), CliError> {
    let answer: Value = super::client(global)?.get(&["workflow", &args.id, "why"], &[]).await?;
    if global.format(Format::Text) == Format::Json {
        output::json(&answer);
        return Ok(());
    }
    for wait in answer["waits"].as_array().into_iter().flatten() {
        let text = |field: &str| wait[field].as_str().unwrap_or("-");
        output::line(format!("{}: {}. Moved by: {}.", args.id, text("sentence"), text("who")));
    }
    Ok(())
}
