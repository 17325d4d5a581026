//! `sluice dead-letters`: messages that could not be processed, and what becomes of them.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice dead-letters`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    command: Option<DeadLettersCommand>,
    /// Which ones: waiting, redriven or dropped
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Only those older than this one
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// Show one: payload, reason, history
    Show {
        /// Its number
        id: u64,
    },
    /// Send it again where it came from
    Redrive(Act),
    /// Decide that nothing more comes of it
    Drop(Act),
}

#[derive(Debug, clap::Args)]
struct Act {
    /// Its number
    id: u64,
    /// Who does it [default: $USER]
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true)]
    by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

pub(crate) async fn run(global: &Global, args: DeadLettersArgs) -> Result<(), CliError> {
    let client = super::client(global)?;
    let answer: Value = match &args.command {
        None => return list(global, &args).await,
        Some(DeadLettersCommand::Show { id }) => {
            client.get(&["dead-letters", &id.to_string()], &[]).await?
        }
        Some(DeadLettersCommand::Redrive(act)) => {
            client.post(&["dead-letters", &act.id.to_string(), "redrive"], &body(act)).await?
        }
        Some(DeadLettersCommand::Drop(act)) => {
            client.post(&["dead-letters", &act.id.to_string(), "drop"], &body(act)).await?
        }
    };
    match global.format(Format::Text) {
        Format::Json => output::json(&answer),
        Format::Text => show(&answer),
    }
    Ok(())
}

fn body(act: &Act) -> Value {
    let mut body = json!({});
    for (field, value) in [("by", &act.by), ("comment", &act.comment)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            body[field] = value.into();
        }
    }
    body
}

async fn list(global: &Global, args: &DeadLettersArgs) -> Result<(), CliError> {
    let (limit, before) = (args.limit.map(|n| n.to_string()), args.before.map(|n| n.to_string()));
    let query: Vec<(&str, &str)> =
        [("status", &args.status), ("limit", &limit), ("before", &before)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect();
    let answer: Value = super::client(global)?.get(&["dead-letters"], &query).await?;
    if global.format(Format::Text) == Format::Json {
        output::json(&answer);
        return Ok(());
    }
    let letters: Vec<&Value> = answer["dead_letters"].as_array().into_iter().flatten().collect();
    if letters.is_empty() {
        output::line("no dead letters");
        return Ok(());
    }
    let rows: Vec<_> = letters.iter().map(|letter| row(letter)).collect();
    output::table(["ID", "STATUS", "SOURCE", "SUBJECT", "KEPT (UTC)", "REASON"], &rows);
    Ok(())
}

/// Enough of a reason to know what it is about.
const REASON_CHARS: usize = 100;

fn row(letter: &Value) -> [String; 6] {
    let text = |field: &str| letter[field].as_str().unwrap_or("-").to_owned();
    [
        letter["dead_letter_id"].to_string(),
        text("status"),
        text("source"),
        text("subject"),
        output::seconds(&letter["created_at"]),
        text("reason").chars().take(REASON_CHARS).collect(),
    ]
}

fn show(letter: &Value) {
    let text = |field: &str| letter[field].as_str().unwrap_or("-");
    let id = &letter["dead_letter_id"];
    output::line(format!("dead letter {id} ({}): {}", text("status"), text("reason")));
    output::line(format!("from {} ({})", text("subject"), text("source")));
    output::line(format!("kept {}", output::seconds(&letter["created_at"])));
    for act in letter["acts"].as_array().into_iter().flatten() {
        let word = |field: &str| act[field].as_str().unwrap_or_default();
        let comment = act["comment"].as_str().map(|text| format!(": {text}")).unwrap_or_default();
        let at = output::seconds(&act["at"]);
        output::line(format!("{at} {} by {}{comment}", word("act"), word("by")));
    }
    let cut = if letter["payload_is_cut"] == true { ", cut short" } else { "" };
    output::line(format!("payload, {} bytes{cut}:", letter["payload_bytes"]));
    output::line(text("payload"));
}
