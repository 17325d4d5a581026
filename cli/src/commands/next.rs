//! What somebody who looks at a run can do next.

use serde_json::Value;

/// The command for what a status asks for; none when nothing is to be done.
pub(super) fn step(status: &Value) -> Option<String> {
    let text = |field: &str| status[field].as_str();
    let id = text("workflow_id")?;
    match text("status")? {
        "pending" | "running" => Some(format!("Follow it with `sluice watch {id}`.")),
        "paused" => {
            let role = status["pending_approval"]["approver_role"].as_str().unwrap_or("somebody");
            Some(format!(
                "It waits for {role}. Approve with `sluice resume {id} approved`, reject with `sluice resume {id} rejected`."
            ))
        }
        "failed" => {
            let step = text("failed_step")?;
            Some(format!("Once the reason is gone, go on with `sluice retry {id} {step}`."))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_status_has_its_advice() {
        let cases = [
            (json!({"workflow_id": "a", "status": "running"}), Some("sluice watch a")),
            (
                json!({"workflow_id": "a", "status": "paused",
                       "pending_approval": {"approver_role": "cto"}}),
                Some("waits for cto. Approve with `sluice resume a approved`"),
            ),
            (
                json!({"workflow_id": "a", "status": "failed", "failed_step": "b"}),
                Some("retry a b"),
            ),
            (json!({"workflow_id": "a", "status": "failed", "failed_step": null}), None),
            (json!({"workflow_id": "a", "status": "completed"}), None),
            (json!({"workflow_id": "a", "status": "rolled_back", "failed_step": "b"}), None),
        ];
        for (status, expected) in cases {
            match (step(&status), expected) {
                (Some(said), Some(part)) => assert!(said.contains(part), "{said}"),
                (said, expected) => assert_eq!(said.as_deref(), expected, "{status}"),
            }
        }
    }
}
