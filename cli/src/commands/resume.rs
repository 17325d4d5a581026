//! `sluice resume`: decides what a paused run waits for.

use serde_json::{Value, json};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// Id of the run
    id: String,
    /// approved or rejected
    #[arg(default_value = "approved")]
    decision: String,
    /// The approval that is meant; whatever the run waits for when left out
    #[arg(long, value_name = "ID")]
    approval: Option<String>,
    /// Who decides
    #[arg(long, value_name = "NAME")]
    approver: Option<String>,
    /// In which role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// In your words
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Why it is right to go on
    #[arg(long, value_name = "TEXT")]
    justification: Option<String>,
}

pub(crate) async fn run(global: &Global, args: ResumeArgs) -> Result<(), CliError> {
    let mut request = json!({"approval_decision": args.decision});
    for (name, value) in [
        ("approval_id", args.approval),
        ("approver", args.approver),
        ("approver_role", args.role),
        ("comment", args.comment),
        ("justification", args.justification),
    ] {
        // An empty one is a script's variable that nobody set.
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            request[name] = value.into();
        }
    }
    let answer: Value =
        super::client(global)?.post(&["workflow", "resume", &args.id], &request).await?;
    match global.format(Format::Json) {
        Format::Json => {
            output::json(&answer);
            output::note(told(&args.id, &answer));
        }
        Format::Text => output::line(told(&args.id, &answer)),
    }
    Ok(())
}

/// What was decided, and what to do next.
fn told(id: &str, answer: &Value) -> String {
    let text = |field: &str| answer[field].as_str().unwrap_or("-");
    let (decision, status) = (text("approval_decision"), text("status"));
    let (received, required) = (&answer["approvals_received"], &answer["approvals_required"]);
    let next = match status {
        "paused" => "it waits for another approver".to_owned(),
        "running" | "pending" => format!("follow it with `sluice watch {id}`"),
        _ => format!("look at it with `sluice status {id}`"),
    };
    format!("Workflow {id}: {decision} ({received} of {required}), now {status}; {next}")
}
