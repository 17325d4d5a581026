//! The log of the worker: always there.

use serde_json::Value;
use sluice_proto::message::{Command, CommandKind};

pub(crate) const NAME: &str = "log";
/// Longest text taken over from a payload.
const MAX_CHARS: usize = 160;

/// One line a message. Payloads stay out of it, but for the few words that say what it is about.
pub(crate) fn deliver(command: &Command) {
    let line = match command.kind {
        CommandKind::ApprovalRequest => approval(command),
        _ => notification(command),
    };
    tracing::info!(workflow.id = %command.workflow_id, step.id = %command.step_id, attempt = command.attempt, "{line}");
}

fn approval(command: &Command) -> String {
    let word = |key: &str| word(&command.payload, key);
    let by = word("approver_role").map_or_else(String::new, |role| format!(" by {role}"));
    let risk = word("risk_level").map_or_else(String::new, |risk| format!(", risk {risk}"));
    let why = word("reason").map_or_else(String::new, |reason| format!(": {reason}"));
    let approval = word("approval_id").map_or_else(String::new, |id| format!(" --approval {id}"));
    let run = &command.workflow_id;
    format!(
        "{run} waits for approval{by} ({}{risk}){why}. Decide with: sluice resume {run} approved{approval} --approver NAME (or rejected)",
        command.template_name
    )
}

fn notification(command: &Command) -> String {
    let word = |key: &str| word(&command.payload, key);
    let what =
        word("template").or_else(|| word("trigger")).unwrap_or_else(|| "notification".to_owned());
    let urgency = word("priority").map_or_else(String::new, |priority| format!(" [{priority}]"));
    format!("{what}{urgency}: {} ({})", command.workflow_id, command.template_name)
}

/// A short text on one line.
fn word(payload: &Value, key: &str) -> Option<String> {
    let text = payload.get(key)?.as_str()?.trim();
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect();
    Some(line).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::runtime::test_command;

    #[test]
    fn one_clear_line() {
        let mut command = test_command(CommandKind::ApprovalRequest);
        command.payload = json!({"approval_id": "ap-1", "risk_level": "high", "approver_role": "tech_lead",
            "reason": "deploys\nto production", "details": {"secret": "x"}});
        assert_eq!(
            approval(&command),
            "hotfix-1 waits for approval by tech_lead (hotfix.workflow.yaml, risk high): deploys to production. \
             Decide with: sluice resume hotfix-1 approved --approval ap-1 --approver NAME (or rejected)"
        );
        command.payload = json!({"template": "hotfix_deployed", "priority": "urgent"});
        assert_eq!(
            notification(&command),
            "hotfix_deployed [urgent]: hotfix-1 (hotfix.workflow.yaml)"
        );
        command.payload = json!(null);
        assert_eq!(notification(&command), "notification: hotfix-1 (hotfix.workflow.yaml)");
    }
}
