//! How a run ends, and who is told.

use serde_json::json;
use sluice_proto::event::Status;

use crate::run::Run;

#[test]
fn virtual_targets() {
    for (target, status) in [
        ("workflow_complete", Status::Completed),
        ("notify_success", Status::Completed),
        ("workflow_failed", Status::Failed),
        ("notify_failure", Status::Failed),
        ("notify_test_failure", Status::Failed),
        ("notify_rollback", Status::RolledBack),
        ("tell_of_rollback", Status::RolledBack),
        ("report_success", Status::Completed),
        ("odd", Status::Failed),
    ] {
        let mut run = Run::start(&format!(
            "steps: [{{id: a, type: agent_call, agent: reader, on_success: {target}}}]
notifications:
  - {{trigger: {target}, channels: [log]}}
  - {{trigger: other, channels: [log]}}
  - {{trigger: {target}, channels: [slack]}}
"
        ));
        run.ok("a", json!({}));
        assert_eq!(run.ending(), (status, json!(target)));
        let first = format!("{target}.notify.0:1:1");
        assert_eq!(run.outstanding(), [first.as_str(), &format!("{target}.notify.1:1:1")]);
    }
}

#[test]
fn deliveries_outlive_the_run_and_change_nothing() {
    let mut run = Run::start(
        "steps: [{id: a, type: agent_call, agent: reader}]
notifications: [{trigger: workflow_complete, channels: [log]}]
",
    );
    run.ok("a", json!({}));
    let path = "workflow_complete.notify.0";
    assert_eq!(run.draft(path).payload["data"]["status"], "completed");
    assert_eq!(
        run.fail(path, Some(true)),
        [format!("fail_step {path}"), format!("retry_step {path}")]
    );
    assert_eq!(run.exhaust(path), 2);
    assert_eq!(run.data("notify")["status"], "failed");
    assert_eq!((run.state.status, run.outstanding().len()), (Status::Completed, 0));
}

const DEPLOY: &str = "steps:
  - id: deploy
    type: agent_call
    agent: writer
    decision_gate: {type: llm_assessment, prompt: Well?, on_keep: workflow_complete, on_rollback: undo, on_block: notify_failure, on_tell: tell}
  - {id: undo, type: agent_call, agent: writer, payload: {action: rollback}, on_success: END}
  - {id: tell, type: notification, channels: [log], on_complete: notify_failure}
  - {id: told, type: notification, channels: [log], on_complete: workflow_failed}
  - {id: check, type: agent_call, agent: reader, on_success: workflow_complete}
  - {id: ask, type: hitl_approval, on_approved: workflow_complete, on_rejected: workflow_failed}
";

fn decided(end: &str, decision: &str) -> Run {
    let mut run = Run::start(&DEPLOY.replace("END", end));
    run.ok("deploy", json!({"version": 2}));
    run.ok("deploy.gate", json!({"decision": decision, "reasoning": "errors went up"}));
    run
}

#[test]
fn a_block_is_a_failure_with_a_reason() {
    let run = decided("workflow_complete", "block");
    assert_eq!(run.ending(), (Status::Failed, json!("notify_failure")));
    assert_eq!(run.blame(), (Some("deploy"), Some("block")));
    assert_eq!(run.state.error_message.as_deref(), Some("errors went up"));
    assert_eq!(json!(run.state.steps["deploy"].status), "completed");
    assert_eq!(run.data("complete_step")["failure_reason"], "errors went up");
}

#[test]
fn a_block_after_a_message_is_one_too() {
    let mut run = decided("workflow_complete", "tell");
    run.ok("tell", json!({}));
    assert_eq!(run.ending(), (Status::Failed, json!("notify_failure")));
    assert_eq!(run.blame(), (Some("deploy"), Some("tell")));
    assert_eq!(run.state.error_message.as_deref(), Some("errors went up"));
}

#[test]
fn a_rollback_that_works() {
    // Target after the rollback, what still has to happen, status.
    for (end, then, status) in [
        ("notify_rollback", "", Status::RolledBack),
        ("workflow_failed", "", Status::RolledBack),
        ("workflow_complete", "", Status::RolledBack),
        ("told", "told", Status::RolledBack),
        // A later step leads to success.
        ("check", "check", Status::Completed),
        ("ask", "ask", Status::Completed),
    ] {
        let mut run = decided(end, "rollback");
        let events = run.ok("undo", json!({}));
        assert_eq!(events[..2], ["complete_step undo", "rollback_step deploy"], "{end}");
        match then {
            "" => {}
            "ask" => drop(run.approve("ada")),
            path => drop(run.ok(path, json!({}))),
        }
        assert_eq!(run.state.status, status, "{end}");
        assert_eq!(run.state.rollbacks, ["deploy"]);
        assert_eq!(run.output("deploy")["version"], 2, "what was rolled back is still known");
        assert_eq!(run.output("deploy")["rolled_back"], true);
        let data = run.data("rollback_step");
        assert_eq!((&data["by_step"], &data["reason"]), (&json!("undo"), &json!("errors went up")));
    }
}

#[test]
fn a_rollback_that_fails() {
    let mut run = decided("notify_rollback", "rollback");
    run.fail("undo", None);
    assert_eq!(run.ending(), (Status::Failed, json!("workflow_failed")));
    assert_eq!(run.blame(), (Some("deploy"), Some("rollback")));
    assert!(run.state.rollbacks.is_empty());
    assert_eq!(run.output("undo")["status"], "error");
}

#[test]
fn what_is_undone_is_what_was_done_last() {
    let mut run = Run::start(
        "steps:
  - {id: scan, type: agent_call, agent: writer, on_success: deploy, on_failure: deploy}
  - {id: deploy, type: agent_call, agent: writer, on_failure: warn}
  - {id: warn, type: notification, channels: [log], on_complete: undo}
  - {id: undo, type: agent_call, agent: writer, payload: {action: rollback}, on_success: workflow_failed}
",
    );
    run.fail("scan", None);
    run.fail("deploy", None);
    run.ok("warn", json!({}));
    run.ok("undo", json!({}));
    assert_eq!(run.state.rollbacks, ["deploy"]);
    assert_eq!(run.ending().0, Status::RolledBack);
    // The first failure is the cause.
    assert_eq!(run.blame().0, Some("scan"));
}

#[test]
fn a_message_that_cannot_be_delivered_changes_nothing() {
    let mut run = Run::start(
        "steps: [{id: tell, type: notification, channels: [slack], template: x, priority: urgent, payload: {n: 1}, on_complete: workflow_complete}]\n",
    );
    let payload = run.draft("tell").payload;
    assert_eq!(
        payload,
        json!({
            "trigger": "tell", "channels": ["slack"], "template": "x", "priority": "urgent", "data": {"n": 1},
        })
    );
    assert_eq!(run.exhaust("tell"), 3);
    assert_eq!(run.ending().0, Status::Completed);
    assert_eq!(run.output("tell"), &json!({"status": "failed", "error": "it went wrong"}));
}

#[test]
fn nothing_left_to_say_completes_the_run() {
    for text in [
        "steps: [{id: a, type: agent_call, agent: reader, on_success: end}, {id: end, type: terminal}]\n",
        "steps: [{id: a, type: agent_call, agent: reader}]\n",
        "steps: [{id: a, type: agent_call, agent: reader, on_success: b}, {id: b, type: notification, channels: [log]}]\n",
    ] {
        let mut run = Run::start(text);
        run.ok("a", json!({}));
        run.deliver_messages();
        assert_eq!(run.ending(), (Status::Completed, json!("workflow_complete")), "{text}");
    }
}
