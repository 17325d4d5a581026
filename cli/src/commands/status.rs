//! `sluice status`: where a run is.

use serde_json::Value;

use super::next;
use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Id of the run
    id: String,
}

pub(crate) async fn run(global: &Global, args: StatusArgs) -> Result<(), CliError> {
    let status: Value = super::client(global)?.get(&["workflow", "status", &args.id], &[]).await?;
    match global.format(Format::Json) {
        Format::Json => output::json(&status),
        Format::Text => show(&status),
    }
    Ok(())
}

fn show(status: &Value) {
    for (label, field) in [
        ("workflow", "workflow_id"),
        ("template", "template_name"),
        ("status", "status"),
        ("current step", "current_step"),
        ("failed step", "failed_step"),
        ("error", "error_message"),
        ("waits for lock", "waiting_for_lock"),
        ("waits until", "waiting_until"),
    ] {
        if let Some(text) = status[field].as_str() {
            output::line(format!("{label:<15} {text}"));
        }
    }
    if let Some(role) = status["pending_approval"]["approver_role"].as_str() {
        let risk = status["pending_approval"]["risk_level"].as_str().unwrap_or("unknown");
        output::line(format!("{:<15} {role} ({risk} risk)", "waits for"));
    }
    let steps = status["step_statuses"].as_object().into_iter().flatten();
    let rows: Vec<_> = steps
        .map(|(step, status)| [step.clone(), status.as_str().unwrap_or_default().to_owned()])
        .collect();
    output::line("");
    output::table(["STEP", "STATUS"], &rows);
    if let Some(next) = next::step(status) {
        output::line(format!("\n{next}"));
    }
}
