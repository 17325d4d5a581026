//! `sluice locks`: who holds what, who waits; and taking a lock away.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice locks`.
#[derive(Debug, clap::Args)]
pub(crate) struct LocksArgs {
    #[command(subcommand)]
    command: Option<LocksCommand>,
}

#[derive(Debug, Subcommand)]
enum LocksCommand {
    /// Take a lock from the run that holds it; a step that works under it fails as lock_lost
    Release {
        /// Name of the lock
        name: String,
        /// Why; it stands in the record of that run
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Who releases it [default: $USER]
        #[arg(long, value_name = "NAME", env = "USER", hide_env = true)]
        by: Option<String>,
        /// Only if this run holds it
        #[arg(long, value_name = "ID")]
        held_by: Option<String>,
    },
}

pub(crate) async fn run(global: &Global, args: LocksArgs) -> Result<(), CliError> {
    let client = super::client(global)?;
    let is_json = global.format(Format::Text) == Format::Json;
    let Some(LocksCommand::Release { name, reason, by, held_by }) = args.command else {
        let answer: Value = client.get(&["locks"], &[]).await?;
        match is_json {
            true => output::json(&answer),
            false => show(&answer),
        }
        return Ok(());
    };
    let mut request = json!({"reason": reason});
    for (field, value) in [("released_by", by), ("workflow_id", held_by)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            request[field] = value.into();
        }
    }
    let answer: Value = client.post(&["locks", &name, "release"], &request).await?;
    match is_json {
        true => output::json(&answer),
        false => output::line(told(&answer)),
    }
    Ok(())
}

fn told(answer: &Value) -> String {
    let text = |field: &str| answer[field].as_str().unwrap_or("-");
    let next = match answer["handed_to"].as_str() {
        Some(run) => format!("now held by {run}"),
        None => "now free".to_owned(),
    };
    format!(
        "{} taken from {} ({}), {next}; look at the run with `sluice status {}`",
        text("name"),
        text("workflow_id"),
        text("status"),
        text("workflow_id")
    )
}

fn show(answer: &Value) {
    let locks: Vec<&Value> = answer["locks"].as_array().into_iter().flatten().collect();
    if locks.is_empty() {
        return output::line("no lock is held");
    }
    let rows: Vec<_> = locks.iter().flat_map(|lock| rows(lock)).collect();
    output::table(["LOCK", "WHO", "WORKFLOW", "STEP", "SINCE (UTC)", "WHY"], &rows);
}

fn rows(lock: &Value) -> Vec<[String; 6]> {
    let name = lock["name"].as_str().unwrap_or("-");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let row = |who: String, run: &Value, why: String| {
        let since = output::seconds(&run["since"]);
        [name.to_owned(), who, text(&run["workflow_id"]), text(&run["step_id"]), since, why]
    };
    let holder = &lock["holder"];
    let mut rows = Vec::new();
    if holder.is_object() {
        let why = format!("{} at {}", text(&holder["status"]), text(&holder["current_step"]));
        rows.push(row("holds".to_owned(), holder, why));
    }
    for waiter in lock["waiters"].as_array().into_iter().flatten() {
        let urgent = if waiter["urgent"] == true { "urgent" } else { "" };
        let until = waiter["wait_until"].as_str().map(|_| output::seconds(&waiter["wait_until"]));
        let until = until.map(|until| format!("until {until}")).unwrap_or_default();
        let why = [urgent, &until].join(" ").trim().to_owned();
        rows.push(row(format!("waits, {}", waiter["position"]), waiter, why));
    }
    rows
}
