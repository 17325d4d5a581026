//! The data of each event, as it is recorded.

use serde_json::{Value, json};
use sluice_engine::Report;
use sluice_proto::message::Usage;

use crate::run::{Run, success};

/// Compares the fields named in `expected`; others may be there.
fn check(run: &Run, action: &str, expected: &Value) {
    let data = run.data(action);
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&data[key], value, "{action}.{key} of {data:#}");
    }
}

const GATED: &str = r#"
steps:
  - id: review
    type: agent_call
    agent: reader
    decision_gate:
      type: llm_assessment
      prompt: "Score {{ outputs.review.score }}"
      on_proceed: approve
      on_block: notify_failure
  - id: approve
    type: hitl_approval
    approval_payload: {score: "{{ outputs.review.score }}", missing: "{{ outputs.other.x }}"}
    risk_assessment: {use_previous: review}
    on_approved: deploy
    on_rejected: notify_failure
  - id: deploy
    type: agent_call
    agent: Writer
    resource_lock: "deploy:{{ context.environment }}"
    on_success: workflow_complete
notifications:
  - trigger: workflow_complete
    channels: [slack, log]
    template: deployment_success
    payload: {score: "{{ outputs.review.score }}"}
"#;

fn gated() -> Run {
    Run::start_with(GATED, json!({"environment": "staging"}))
}

#[test]
fn start() {
    let run = gated();
    let data = run.data("start_workflow");
    assert_eq!(data["context"], json!({"environment": "staging"}));
    assert_eq!(data["template_name"], "test.workflow.yaml");
    assert_eq!(data["template_version"], "1.0");
    assert_eq!(data["template_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(data["participating_agents"], json!(["reader", "writer"]));
    assert_eq!(run.trail(), ["start_workflow review"]);
}

#[test]
fn an_answer_and_its_gate() {
    let mut run = gated();
    let usage = Usage { output_tokens: Some(7), ..Usage::default() };
    let report = Report { usage: Some(usage), ..success(json!({"score": 8, "decision": "mine"})) };
    assert_eq!(run.report("review", report), ["record_output review"]);
    check(
        &run,
        "record_output",
        &json!({
            "result": {"score": 8, "decision": "mine"}, "attempt": 1, "duration_ms": 1_500,
            "usage": {"output_tokens": 7},
        }),
    );
    let payload = run.draft("review.gate").payload;
    assert_eq!(payload["prompt"], "Score 8");
    assert_eq!(payload["answers"], json!(["proceed", "block"]));
    let answer = json!({"decision": "Proceed", "risk_level": "medium", "score": 99});
    assert_eq!(
        run.ok("review.gate", answer.clone()),
        ["complete_step review", "pause_workflow approve"]
    );
    check(
        &run,
        "complete_step",
        &json!({
            "next_step": "approve", "decision": "proceed", "decided_by": "model", "answer": answer,
            "result": {"score": 8, "decision": "proceed", "risk_level": "medium"},
            "attempt": 1, "duration_ms": 1_500, "usage": {"output_tokens": 7}, "failure_reason": null,
        }),
    );
}

#[test]
fn a_pause_and_its_end() {
    let mut run = gated();
    run.ok("review", json!({"score": 8}));
    run.ok(
        "review.gate",
        json!({"decision": "proceed", "risk_level": "medium", "reasoning": "ok"}),
    );
    check(
        &run,
        "pause_workflow",
        &json!({
            "reason": "awaiting_approval", "approval_id": "apr-run-1-1", "risk_level": "medium",
            "approver_role": "tech_lead", "required": 1, "details": {"score": 8, "missing": null},
        }),
    );
    assert_eq!(run.data("pause_workflow")["risk_assessment"]["reasoning"], "ok");
    let announced = run.draft("approve.announce").payload;
    assert_eq!(announced["approval_id"], "apr-run-1-1");
    assert_eq!(announced["details"], json!({"score": 8, "missing": null}));
    assert_eq!(run.approve("ada"), ["approve_gate approve", "resume_workflow approve"]);
    check(
        &run,
        "approve_gate",
        &json!({
            "approver": "ada", "approver_role": "tech_lead", "comment": "so be it", "unverified": true,
        }),
    );
    check(
        &run,
        "resume_workflow",
        &json!({
            "decision": "approved", "next_step": "deploy", "next_lock": "deploy:staging",
        }),
    );
    let output = run.output("approve");
    assert_eq!((&output["decision"], &output["approver"]), (&json!("approved"), &json!("ada")));
}

#[test]
fn a_rejection_in_both_spellings() {
    let mut run = gated();
    run.ok("review", json!({"score": 8}));
    run.ok("review.gate", json!({"decision": "proceed"}));
    run.reject("bob");
    check(
        &run,
        "reject_gate",
        &json!({
            "rejector": "bob", "rejector_role": "tech_lead", "approver": "bob",
            "approver_role": "tech_lead", "reason": "so be it",
        }),
    );
    check(
        &run,
        "resume_workflow",
        &json!({"decision": "rejected", "next_step": "notify_failure", "outcome": "failed"}),
    );
    assert_eq!(run.blame(), (Some("approve"), Some("rejected")));
    assert_eq!(run.state.rejection_reason.as_deref(), Some("so be it"));
}

#[test]
fn locks_messages_and_the_end() {
    let mut run = gated();
    run.ok("review", json!({"score": 8}));
    run.ok("review.gate", json!({"decision": "proceed"}));
    run.approve("ada");
    assert_eq!(run.later(5_000).queue("deploy", "deploy:staging"), ["wait_lock deploy"]);
    check(&run, "wait_lock", &json!({"resource_lock": "deploy:staging", "holder": null}));
    run.later(7_000).grant("deploy", "deploy:staging", 12);
    check(
        &run,
        "acquire_lock",
        &json!({
            "resource_lock": "deploy:staging", "wait_ms": 7_000, "fencing_number": 12,
        }),
    );
    let ended = run.later(3_000).ok("deploy", json!({"version": 3}));
    assert_eq!(
        ended,
        ["complete_step deploy", "release_lock deploy", "notify", "complete_workflow"]
    );
    check(&run, "release_lock", &json!({"resource_lock": "deploy:staging", "held_ms": 3_000}));
    check(
        &run,
        "notify",
        &json!({
            "notification_id": "workflow_complete.notify.0", "trigger": "workflow_complete",
            "channels": ["slack", "log"], "template": "deployment_success", "status": "requested",
        }),
    );
    assert_eq!(run.data("notify")["payload"]["data"], json!({"score": 8}));
    check(
        &run,
        "complete_workflow",
        &json!({
            "status": "completed", "target": "workflow_complete", "failure_reason": null,
        }),
    );
    assert_eq!(
        run.ok("workflow_complete.notify.0", json!({})),
        ["notify workflow_complete.notify.0"]
    );
    check(&run, "notify", &json!({"status": "delivered", "payload": null}));
    assert!(run.outstanding().is_empty());
}

#[test]
fn failures_and_retries() {
    let mut run = gated();
    assert_eq!(run.fail("review", Some(true)), ["fail_step review", "retry_step review"]);
    check(
        &run,
        "fail_step",
        &json!({
            "error": "it went wrong", "error_type": "boom", "retriable": true, "attempt": 1,
            "final": false, "next_step": null,
        }),
    );
    check(&run, "retry_step", &json!({"retry_attempt": 1, "max_retries": 3, "backoff_delay": 2.0}));
    assert_eq!(run.fail("review", Some(false)), ["fail_step review", "complete_workflow"]);
    check(
        &run,
        "fail_step",
        &json!({
            "retriable": false, "attempt": 2, "final": true, "next_step": "workflow_failed", "outcome": "failed",
        }),
    );
    assert_eq!(
        run.output("review"),
        &json!({"status": "error", "error": "it went wrong", "error_type": "boom"})
    );
}

#[test]
fn findings_come_first_and_are_bounded() {
    let mut run = gated();
    let insights = vec![
        json!("x".repeat(900)),
        json!({"content": "leak", "insight_type": "security_finding", "confidence": 0.5}),
        json!({"text": "odd", "confidence": 7}),
        json!(3),
    ];
    let report = Report { insights, ..success(json!({})) };
    let events = run.report("review", report);
    assert_eq!(
        events,
        [
            "capture_insight review",
            "capture_insight review",
            "capture_insight review",
            "record_output review"
        ]
    );
    let found = &run.state.insights;
    assert_eq!((found[0].content.len(), found[0].insight_type.as_str()), (500, "general"));
    assert_eq!((found[1].insight_type.as_str(), found[1].confidence), ("security_finding", 0.5));
    assert_eq!((found[2].content.as_str(), found[2].confidence), ("odd", 0.8));
    let ids: std::collections::BTreeSet<&str> =
        found.iter().map(|one| one.insight_id.as_str()).collect();
    assert_eq!(ids.len(), 3);
}
