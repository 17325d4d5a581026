//! `sluice retry`: has a failed run go on from one of its steps.

use serde_json::{Value, json};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice retry`.
#[derive(Debug, clap::Args)]
pub(crate) struct RetryArgs {
    /// Id of the run
    id: String,
    /// Step to go on from: it and the steps after it run again
    step: String,
    /// How often this step may be retried so
    #[arg(long, value_name = "N", default_value_t = 3)]
    max_retries: u32,
    /// Who asks
    #[arg(long, alias = "by", value_name = "NAME", default_value = "unknown")]
    requested_by: String,
}

pub(crate) async fn run(global: &Global, args: RetryArgs) -> Result<(), CliError> {
    let max_retries = args.max_retries.to_string();
    let query = [("max_retries", &*max_retries), ("requested_by", &*args.requested_by)];
    let path = ["workflow", &args.id, "retry-from", &args.step];
    let answer: Value = super::client(global)?.post_query(&path, &query, &json!({})).await?;
    match global.format(Format::Json) {
        Format::Json => output::json(&answer),
        Format::Text => output::line(format!(
            "{}: retry {} of {}, {}",
            args.id,
            answer["retry_attempt"],
            answer["max_retries"],
            answer["message"].as_str().unwrap_or("-")
        )),
    }
    Ok(())
}
