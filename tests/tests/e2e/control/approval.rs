//! A decision that names the approval it is for.

use serde_json::json;
use sluice_tests::{World, run};

const TWO_GATES: &str = r#"
name: Two gates
version: "1.0"
description: Two people decide, one after the other.
steps:
  - id: first
    type: hitl_approval
    risk_assessment: {risk_level: high}
    on_approved: second
    on_rejected: notify_failure
  - id: second
    type: hitl_approval
    risk_assessment: {risk_level: critical}
    on_approved: workflow_complete
    on_rejected: notify_failure
"#;

#[test]
fn of_two_who_approve_at_once_none_passes_the_next_gate() {
    run(async {
        let world = World::builder().template("two", TWO_GATES).start().await;
        let id = world.execute("two", json!({})).await;
        let state = world.wait_for(&id, "paused").await;
        let body = |who: &str| {
            json!({
                "approval_decision": "approved",
                "approver": who,
                "approval_id": state["pending_approval"]["approval_id"],
            })
        };
        let (a, b) = futures::join!(world.resume(&id, body("ana")), world.resume(&id, body("bob")));
        let mut statuses = [a.0, b.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{a:?} {b:?}");
        let state = world.status(&id).await;
        assert_eq!(state["status"], "paused");
        assert_eq!(state["pending_approval"]["step_id"], "second");
        world.delete(&format!("/workflow/{id}")).await;
        world.stop().await;
    });
}
