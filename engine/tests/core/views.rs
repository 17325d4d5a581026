//! What people see at each stage.

use serde_json::json;
use sluice_engine::{current_step, state_response, status_response, step_statuses};
use sluice_proto::event::Status;

use crate::run::Run;

const TEXT: &str = "steps:
  - id: review
    type: agent_call
    agent: reader
    decision_gate: {type: llm_assessment, prompt: Well?, on_proceed: approve, on_block: notify_failure}
  - {id: approve, type: hitl_approval, on_approved: deploy, on_rejected: notify_failure}
  - {id: deploy, type: agent_call, agent: writer, resource_lock: x}
";

/// Status, current step, and the statuses of the three steps.
fn check(run: &Run, status: Status, current: &str, steps: [&str; 3]) {
    assert_eq!(run.state.status, status);
    assert_eq!(current_step(&run.template, &run.state).as_deref(), Some(current));
    let statuses = step_statuses(&run.template, &run.state);
    let expected = json!({"review": steps[0], "approve": steps[1], "deploy": steps[2]});
    assert_eq!(json!(statuses), expected);
    let keys: Vec<&String> = statuses.keys().collect();
    assert_eq!(keys, ["review", "approve", "deploy"], "in file order");
}

#[test]
fn from_start_to_end() {
    let mut run = Run::start(TEXT);
    check(&run, Status::Running, "review", ["running", "pending", "pending"]);
    run.ok("review", json!({}));
    check(&run, Status::Running, "review", ["running", "pending", "pending"]);
    run.ok("review.gate", json!({"decision": "proceed"}));
    check(&run, Status::Paused, "approve", ["completed", "running", "pending"]);
    let status = status_response(&run.template, &run.state);
    assert_eq!(status.pending_approval.unwrap().approval_id, "apr-run-1-1");
    run.approve("ada");
    check(&run, Status::Running, "deploy", ["completed", "completed", "running"]);
    run.queue("deploy", "x");
    let status = status_response(&run.template, &run.state);
    assert_eq!((status.waiting_for_lock.as_deref(), status.locks.len()), (Some("x"), 0));
    assert!(status.pending_approval.is_none());
    run.grant("deploy", "x", 1);
    let status = status_response(&run.template, &run.state);
    assert_eq!((status.waiting_for_lock, status.locks), (None, vec!["x".to_owned()]));
    run.ok("deploy", json!({}));
    check(&run, Status::Completed, "deploy", ["completed", "completed", "completed"]);
    assert_eq!(run.state.completed_at, Some(run.now));
}

#[test]
fn when_it_goes_wrong() {
    let mut run = Run::start(TEXT);
    run.ok("review", json!({}));
    run.ok("review.gate", json!({"decision": "block", "reasoning": "secrets"}));
    check(&run, Status::Failed, "review", ["completed", "skipped", "skipped"]);
    let status = status_response(&run.template, &run.state);
    assert_eq!(status.error_message.as_deref(), Some("secrets"));
    assert_eq!(status.failed_step.as_deref(), Some("review"));

    let mut run = Run::start(TEXT);
    run.ok("review", json!({}));
    run.ok("review.gate", json!({"decision": "proceed"}));
    run.reject("ada");
    check(&run, Status::Failed, "approve", ["completed", "failed", "skipped"]);

    let mut run = Run::start(TEXT);
    run.fail("review", Some(false));
    check(&run, Status::Failed, "review", ["failed", "skipped", "skipped"]);
}

#[test]
fn the_whole_state() {
    let mut run = Run::start(TEXT);
    run.ok("review", json!({"a": 1}));
    run.ok("review.gate", json!({"decision": "proceed"}));
    run.approve("ada");
    let state = state_response(&run.template, &run.state);
    assert_eq!(state.decisions["review"], json!({"decision": "proceed", "decided_by": "model"}));
    assert_eq!(state.approvals[0]["status"], "approved");
    assert_eq!(state.approvals[0]["approvers"], json!(["ada"]));
    assert_eq!(state.event_count, run.events.len() as u64);
}
