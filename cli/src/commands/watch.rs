//! `sluice watch`: follows a run until it ends or waits for a person.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::Global;
use crate::client::Client;
use crate::error::CliError;
use crate::output::{self, Format};

const POLL: Duration = Duration::from_millis(500);
/// How long the gateway may be away before following is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `sluice watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// Id of the run
    id: String,
}

pub(crate) async fn run(global: &Global, args: WatchArgs) -> Result<(), CliError> {
    follow(&super::client(global)?, &args.id, global.format(Format::Text)).await
}

/// Prints every change of a step, one a line. An end that is no success is an error.
pub(crate) async fn follow(client: &Client, id: &str, format: Format) -> Result<(), CliError> {
    let mut seen = BTreeMap::new();
    let mut answered: Option<Instant> = None;
    loop {
        match client.get::<Value>(&["workflow", "status", id], &[]).await {
            Ok(status) => {
                answered = Some(Instant::now());
                show_changes(&status, &mut seen, format);
                if let Some(end) = ending(&status) {
                    return conclude(id, &status, end, format);
                }
            }
            // A gateway that was there and is away will most likely be back.
            Err(error)
                if answered.is_some_and(|last| last.elapsed() < PATIENCE) && is_passing(&error) => {
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(POLL).await;
    }
}

fn is_passing(error: &CliError) -> bool {
    match error {
        CliError::Unreachable { .. } | CliError::Strange { .. } => true,
        CliError::Refused(error) => matches!(error.code.http_status(), 429 | 500..),
        _ => false,
    }
}

fn show_changes(status: &Value, seen: &mut BTreeMap<String, String>, format: Format) {
    let steps = status["step_statuses"].as_object().into_iter().flatten();
    for (step, now) in steps {
        let now = now.as_str().unwrap_or_default();
        // A step that nobody has reached is no news.
        let before = seen.get(step).map_or("pending", String::as_str);
        if before != now {
            match format {
                Format::Text => output::line(format!("{step}: {now}")),
                Format::Json => output::json_line(&json!({"step": step, "status": now})),
            }
            seen.insert(step.clone(), now.to_owned());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Well,
    Badly,
    Paused,
}

fn ending(status: &Value) -> Option<Ending> {
    match status["status"].as_str()? {
        "completed" => Some(Ending::Well),
        "paused" => Some(Ending::Paused),
        "failed" | "rolled_back" | "cancelled" => Some(Ending::Badly),
        _ => None,
    }
}

fn conclude(id: &str, status: &Value, ending: Ending, format: Format) -> Result<(), CliError> {
    let word = status["status"].as_str().unwrap_or_default();
    match format {
        Format::Json => output::json_line(status),
        Format::Text => output::line(format!("Workflow {id}: {word}")),
    }
    match ending {
        Ending::Well => Ok(()),
        Ending::Paused => {
            let role = status["pending_approval"]["approver_role"].as_str().unwrap_or("somebody");
            output::note(format!(
                "It waits for {role}. Approve with `sluice resume {id} approved`, reject with `sluice resume {id} rejected`."
            ));
            Ok(())
        }
        Ending::Badly => {
            let step = status["failed_step"]
                .as_str()
                .map(|step| format!(" in step {step}"))
                .unwrap_or_default();
            let why = status["error_message"].as_str().unwrap_or("no reason given");
            Err(CliError::Failed(format!("the run ended {word}{step}: {why}")))
        }
    }
}
