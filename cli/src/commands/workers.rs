//! `sluice workers`: who is there, and what they hold.

use serde_json::Value;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global) -> Result<(), CliError> {
    let answer: Value = super::client(global)?.get(&["workers"], &[]).await?;
    match global.format(Format::Text) {
        Format::Json => output::json(&answer),
        Format::Text => show(&answer),
    }
    Ok(())
}

fn show(answer: &Value) {
    let workers: Vec<&Value> = answer["workers"].as_array().into_iter().flatten().collect();
    if workers.is_empty() {
        return output::line("no workers; start one with `sluice worker`");
    }
    let rows: Vec<_> = workers.iter().map(|worker| row(worker)).collect();
    output::table(["WORKER", "STATUS", "HOLDS", "SINCE (UTC)", "HEARD (UTC)", "AGENTS"], &rows);
    for worker in workers {
        for attempt in worker["attempts"].as_array().into_iter().flatten() {
            output::line(held(worker, attempt));
        }
    }
}

fn row(worker: &Value) -> [String; 6] {
    let agents = worker["agents"].as_array().into_iter().flatten();
    let agents: Vec<&str> = agents.filter_map(Value::as_str).collect();
    [
        name(worker).to_owned(),
        worker["status"].as_str().unwrap_or("-").to_owned(),
        worker["held"].to_string(),
        output::seconds(&worker["started_at"]),
        output::seconds(&worker["last_heard_at"]),
        agents.join(","),
    ]
}

fn name(worker: &Value) -> &str {
    worker["name"].as_str().or(worker["worker_id"].as_str()).unwrap_or("-")
}

fn held(worker: &Value, attempt: &Value) -> String {
    let text = |field: &str| attempt[field].as_str().unwrap_or("-");
    let claimed = if attempt["claimed"] == true { ", claimed" } else { "" };
    format!(
        "{} holds {} of {} (attempt {}, agent {}) since {}{claimed}",
        name(worker),
        text("step_id"),
        text("workflow_id"),
        attempt["attempt"],
        text("agent"),
        output::seconds(&attempt["since"]),
    )
}
