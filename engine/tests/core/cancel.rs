//! Somebody ends a run: what is cleaned up, what runs first, what nobody can undo.

use serde_json::json;
use sluice_engine::{Decision, Effect, Input, Refused};
use sluice_proto::event::{Status, StepStatus};

use crate::run::{Run, success};

const LOCKED: &str = "steps:
  - {id: plan, type: agent_call, agent: reader, resource_lock: prod, on_success: approve}
  - {id: approve, type: hitl_approval, risk_assessment: {risk_level: high}, on_approved: apply, on_rejected: workflow_failed}
  - {id: apply, type: agent_call, agent: writer, resource_lock: prod}
";

#[test]
fn an_attempt_is_dropped_and_its_late_result_changes_nothing() {
    let mut run = Run::start(LOCKED);
    run.grant("plan", "prod", 1);
    let late = run.attempt("plan");
    let trail = run.cancel(false).unwrap();
    assert_eq!(trail, ["cancel_workflow plan", "release_lock plan", "complete_workflow"]);
    assert_eq!(run.ending(), (Status::Cancelled, json!("workflow_cancelled")));
    let dropped = |effect: &Effect| matches!(effect, Effect::DropAttempt(wish) if *wish == late);
    assert!(run.effects.iter().any(dropped));
    assert!(run.effects.contains(&Effect::ReleaseLock("prod".to_owned())));
    let (path, visit, attempt) = (late.path, late.visit, late.attempt);
    let result = Input::Result { path, visit, attempt, report: success(json!({})) };
    assert_eq!(run.input(result), Err(Refused::NotOutstanding));
    assert_eq!(run.state.status, Status::Cancelled);
    assert_eq!(run.state.steps["plan"].status, StepStatus::Failed);
    assert_eq!(run.state.error_message.as_deref(), Some("cancelled by ops: no longer wanted"));
}

#[test]
fn an_approval_is_closed_and_cannot_be_given_any_more() {
    let mut run = Run::start(LOCKED);
    run.grant("plan", "prod", 1);
    run.ok("plan", json!({}));
    assert_eq!(run.state.status, Status::Paused);
    run.cancel(false).unwrap();
    assert_eq!(run.state.status, Status::Cancelled);
    assert_eq!(run.state.approvals[0].status, "cancelled");
    assert!(run.effects.contains(&Effect::CloseApproval("apr-run-1-1".to_owned())));
    assert!(run.outstanding().is_empty(), "{:?}", run.outstanding());
    assert_eq!(run.decide(true, Some("ada")), Err(Refused::NotPaused));
}

#[test]
fn a_place_in_a_queue_is_given_up() {
    let mut run = Run::start(LOCKED);
    run.queue("plan", "prod");
    run.cancel(false).unwrap();
    assert!(matches!(run.effects[..], [Effect::WithdrawLockRequest(_)]), "{:?}", run.effects);
}

#[test]
fn what_has_ended_cannot_be_cancelled() {
    let mut run = Run::start("steps:\n  - {id: a, type: agent_call, agent: reader}\n");
    run.ok("a", json!({}));
    assert_eq!(run.cancel(false), Err(Refused::Ended(Status::Completed)));
    assert_eq!(run.cancel(true), Err(Refused::Ended(Status::Completed)));
    let mut run = Run::start(LOCKED);
    run.cancel(false).unwrap();
    assert_eq!(run.cancel(true), Err(Refused::Ended(Status::Cancelled)));
}

#[test]
fn the_messages_of_a_cancellation() {
    let entry = |trigger: &str| format!("  - {{trigger: {trigger}, channels: [log]}}\n");
    let steps = "steps:\n  - {id: a, type: agent_call, agent: reader}\nnotifications:\n";
    let all = ["workflow_cancelled", "workflow_failed", "notify_failure"];
    for (n, expected) in all.iter().enumerate() {
        let entries: String = all[n..].iter().map(|trigger| entry(trigger)).collect();
        let mut run = Run::start(&format!("{steps}{entries}"));
        run.cancel(false).unwrap();
        assert_eq!(run.ending().1, *expected);
        assert_eq!(run.outstanding(), [format!("{expected}.notify.0:1:1")]);
    }
    let named = format!("on_cancel: notify_rollback\n{steps}{}", entry("notify_rollback"));
    let mut run = Run::start(&named);
    run.cancel(false).unwrap();
    assert_eq!(run.ending(), (Status::Cancelled, json!("notify_rollback")));
}

/// A deployment that a cancellation takes back.
const UNDONE: &str = "on_cancel: undo
steps:
  - {id: deploy, type: agent_call, agent: writer, resource_lock: prod, on_success: check}
  - {id: check, type: agent_call, agent: reader, resource_lock: prod}
  - {id: undo, type: agent_call, agent: writer, payload: {action: rollback}, on_success: tell}
  - {id: tell, type: notification, channels: [log]}
notifications:
  - {trigger: workflow_complete, channels: [log]}
  - {trigger: workflow_failed, channels: [log]}
";

fn deployed() -> Run {
    let mut run = Run::start(UNDONE);
    run.grant("deploy", "prod", 1);
    run.ok("deploy", json!({"url": "x"}));
    run
}

#[test]
fn what_was_done_is_undone_first_and_under_the_lock() {
    let mut run = deployed();
    assert_eq!(run.cancel(false).unwrap(), ["cancel_workflow check"]);
    assert_eq!(run.state.status, Status::Running);
    assert_eq!(run.outstanding(), ["undo:1:1"]);
    assert!(run.state.locks.contains_key("prod"));
    assert_eq!(run.cancel(false), Err(Refused::BeingCancelled));
    run.ok("undo", json!({}));
    assert!(run.state.locks.contains_key("prod"), "the message is part of it");
    run.deliver_messages();
    assert_eq!(run.ending(), (Status::Cancelled, json!("workflow_failed")));
    assert_eq!(run.state.rollbacks, ["check"], "the step it was called back from");
    assert!(!run.state.notifications.contains_key("workflow_complete.notify.0"));
}

#[test]
fn a_failed_undoing_still_ends_as_cancelled_and_says_so() {
    let mut run = deployed();
    run.cancel(false).unwrap();
    run.fail("undo", Some(false));
    assert_eq!(run.ending().0, Status::Cancelled);
    assert_eq!(run.blame(), (Some("undo"), Some("boom")));
}

#[test]
fn force_ends_it_at_once() {
    let mut run = deployed();
    run.cancel(true).unwrap();
    assert_eq!(run.ending().0, Status::Cancelled);
    let mut run = deployed();
    run.cancel(false).unwrap();
    run.cancel(true).unwrap();
    assert_eq!(run.ending().0, Status::Cancelled);
    assert!(run.state.rollbacks.is_empty());
}

#[test]
fn a_decision_can_name_the_approval_it_is_for() {
    let mut run = Run::start(
        "steps:
  - {id: first, type: hitl_approval, risk_assessment: {risk_level: high}, on_approved: second, on_rejected: workflow_failed}
  - {id: second, type: hitl_approval, risk_assessment: {risk_level: high}, on_approved: workflow_complete, on_rejected: workflow_failed}
",
    );
    let decision = |approver: &str| {
        Input::Decision(Decision {
            approved: true,
            approval_id: Some("apr-run-1-1".to_owned()),
            approver: Some(approver.to_owned()),
            ..Decision::default()
        })
    };
    run.input(decision("ada")).unwrap();
    assert_eq!(
        run.input(decision("bob")),
        Err(Refused::OtherApproval("apr-run-1-1".to_owned())),
        "a second approval of the first must not pass the second"
    );
    assert_eq!(run.state.active["second"].visit, 1);
}
