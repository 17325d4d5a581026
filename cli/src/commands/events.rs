//! `sluice events`: a run's history, filtered, a page at a time or as it comes.

use std::time::Duration;

use serde_json::Value;

use crate::args::Global;
use crate::client::Client;
use crate::error::CliError;
use crate::output::{self, Format};

/// How long the gateway may be away before following is given up.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `sluice events`.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// Id of the run
    id: String,
    /// At most this many, up to 1,000 [default: 100]
    #[arg(long)]
    limit: Option<u32>,
    /// Leave out this many
    #[arg(long)]
    offset: Option<u32>,
    /// Only events behind this number
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// Only events of this action, in upper or lower case
    #[arg(long)]
    action: Option<String>,
    /// Only events about this step
    #[arg(long)]
    step: Option<String>,
    /// Only events of this moment (RFC 3339) and later
    #[arg(long, value_name = "MOMENT")]
    from: Option<String>,
    /// Only events of this moment (RFC 3339) and earlier
    #[arg(long, value_name = "MOMENT")]
    to: Option<String>,
    /// Only what this person or agent did
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Go on until the run has ended: one JSON value, or line, an event
    #[arg(short, long)]
    follow: bool,
}

pub(crate) async fn run(global: &Global, args: EventsArgs) -> Result<(), CliError> {
    let client = super::client(global)?;
    let number = |n: Option<u32>| n.map(|n| n.to_string());
    let (limit, offset) = (number(args.limit), number(args.offset));
    let after = args.after.map(|n| n.to_string());
    let query: Vec<(&str, &str)> = [
        // An empty value is what a task hands on that nobody gave one.
        ("limit", &limit),
        ("offset", &offset),
        ("after", &after),
        ("action", &args.action),
        ("step", &args.step),
        ("from", &args.from),
        ("to", &args.to),
        ("actor", &args.actor),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref().filter(|value| !value.is_empty())?)))
    .collect();
    let format = global.format(Format::Json);
    if args.follow {
        return follow(&client, &args.id, &query, format).await;
    }
    let page: Value = client.get(&["workflow", &args.id, "events"], &query).await?;
    match format {
        Format::Json => output::json(&page),
        Format::Text => {
            for event in page["events"].as_array().into_iter().flatten() {
                output::line(in_short(event));
            }
        }
    }
    Ok(())
}

/// A stream that is cut goes on behind the last event that came.
async fn follow(
    client: &Client,
    id: &str,
    query: &[(&str, &str)],
    format: Format,
) -> Result<(), CliError> {
    let query: Vec<(&str, &str)> = [("follow", "1")].iter().chain(query).copied().collect();
    let (mut last, mut failures) = (None, 0);
    loop {
        match client.follow(&["workflow", id, "events"], &query, last).await {
            Ok(mut stream) => {
                while let Some(told) = stream.next().await {
                    failures = 0;
                    if told.event == "end" {
                        return Ok(());
                    }
                    last = told.id.or(last);
                    let event: Value = serde_json::from_str(&told.data).unwrap_or_default();
                    match format {
                        Format::Json => output::json_line(&event),
                        Format::Text => output::line(in_short(&event)),
                    }
                }
            }
            Err(error @ (CliError::Refused(_) | CliError::Usage(_))) => return Err(error),
            Err(error) if failures >= ATTEMPTS => return Err(error),
            Err(_) => {}
        }
        failures += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn in_short(event: &Value) -> String {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let data: String = event["data"].to_string().chars().take(160).collect();
    let time: String = text("timestamp").chars().take(23).collect();
    let number = event["sequence"].as_u64().unwrap_or_default();
    format!("{number:>5}  {time}  {:<18} {:<24} {data}", text("action"), text("step_id"))
}
