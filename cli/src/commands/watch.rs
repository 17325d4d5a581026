//! `sluice watch`: follows a run until it ends or waits for a person.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_proto::api::StateResponse;

use super::next;
use crate::args::Global;
use crate::client::Client;
use crate::error::CliError;
use crate::output::{self, Format};
use crate::progress::{self, History, Screen};

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

/// Shows every change until the run ends or waits for a person. An end that is no success is an error.
pub(crate) async fn follow(client: &Client, id: &str, format: Format) -> Result<(), CliError> {
    let mut view = None;
    let mut answered: Option<Instant> = None;
    loop {
        match look(client, id, format, &mut view).await {
            Ok(status) => {
                answered = Some(Instant::now());
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

/// Shows what is new and gives the status, which is not newer than what was shown.
async fn look(
    client: &Client,
    id: &str,
    format: Format,
    view: &mut Option<View>,
) -> Result<Value, CliError> {
    let status: Value = client.get(&["workflow", "status", id], &[]).await?;
    let view = match view {
        Some(view) => view,
        None => view.insert(View::new(client, id, format).await?),
    };
    match view {
        View::Lines { seen } => show_changes(&status, seen),
        View::People { history, seen, screen } => {
            progress::catch_up(client, id, history, seen).await?;
            screen.show(history, progress::now());
        }
    }
    Ok(status)
}

/// What was shown so far.
enum View {
    /// JSON, one line for each change of a step.
    Lines { seen: BTreeMap<String, String> },
    /// Who works since when, and what is waited for.
    People { history: Box<History>, seen: usize, screen: Screen },
}

impl View {
    async fn new(client: &Client, id: &str, format: Format) -> Result<Self, CliError> {
        if format == Format::Json {
            return Ok(Self::Lines { seen: BTreeMap::new() });
        }
        let state: StateResponse = client.get(&["workflow", id], &[]).await?;
        let steps = state.status.run.step_statuses.into_keys().collect();
        let history = Box::new(History::of(state.step_agents.into_iter().collect()));
        Ok(Self::People { history, seen: 0, screen: Screen::new(steps) })
    }
}

fn is_passing(error: &CliError) -> bool {
    match error {
        CliError::Unreachable { .. } | CliError::Strange { .. } => true,
        CliError::Refused(error) => matches!(error.code.http_status(), 429 | 500..),
        _ => false,
    }
}

fn show_changes(status: &Value, seen: &mut BTreeMap<String, String>) {
    let steps = status["step_statuses"].as_object().into_iter().flatten();
    for (step, now) in steps {
        let now = now.as_str().unwrap_or_default();
        // A step that nobody has reached is no news.
        let before = seen.get(step).map_or("pending", String::as_str);
        if before != now {
            output::json_line(&json!({"step": step, "status": now}));
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
            output::note(next::step(status).unwrap_or_default());
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
