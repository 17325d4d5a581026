//! An operator holds a run up; a run takes too long.

use serde_json::json;
use sluice_engine::{DEADLINE, Effect, Input, Refused};
use sluice_proto::event::Status;

use crate::run::Run;

const STEPS: &str = "steps:
  - {id: a, type: agent_call, agent: reader, resource_lock: prod, on_success: b}
  - {id: b, type: agent_call, agent: reader, resource_lock: prod, on_success: ask}
  - {id: ask, type: hitl_approval, risk_assessment: {risk_level: high}, on_approved: c, on_rejected: workflow_failed}
  - {id: c, type: agent_call, agent: reader}
notifications: [{trigger: workflow_failed, channels: [log]}]
";

fn at_a() -> Run {
    let mut run = Run::start(STEPS);
    run.grant("a", "prod", 1);
    run
}

#[test]
fn what_is_in_flight_is_recorded_and_nothing_new_begins() {
    let mut run = at_a();
    assert_eq!(run.suspend().unwrap(), ["suspend_workflow a"]);
    assert_eq!(run.state.status, Status::Paused);
    assert!(run.effects.is_empty(), "the attempt goes on: {:?}", run.effects);
    run.ok("a", json!({"n": 1}));
    assert_eq!(run.output("a"), &json!({"n": 1}));
    assert!(run.outstanding().is_empty(), "{:?}", run.outstanding());
    assert!(run.state.locks.contains_key("prod"), "it keeps what it holds");
    assert_eq!(run.state.status, Status::Paused);
    assert_eq!(run.go_on().unwrap(), ["continue_workflow"]);
    assert_eq!(run.outstanding(), ["b:1:1"]);
    assert_eq!(run.state.status, Status::Running);
    run.ok("b", json!({}));
    run.approve("ada");
    run.ok("c", json!({}));
    assert_eq!(run.ending().0, Status::Completed);
}

#[test]
fn a_retry_waits_and_so_does_an_attempt_that_was_not_due() {
    let mut run = at_a();
    run.suspend().unwrap();
    run.fail("a", Some(true));
    assert!(run.outstanding().is_empty());
    run.go_on().unwrap();
    assert_eq!(run.outstanding(), ["a:1:2"]);
    run.fail("a", Some(true));
    run.fail("a", Some(true));
    run.suspend().unwrap();
    assert!(matches!(run.effects[..], [Effect::DropAttempt(_)]), "{:?}", run.effects);
    run.go_on().unwrap();
    assert_eq!(run.outstanding(), ["a:1:4"]);
}

#[test]
fn a_place_in_a_queue_is_kept_and_a_lock_that_comes_is_held() {
    let mut run = Run::start(STEPS);
    run.queue("a", "prod");
    run.suspend().unwrap();
    assert_eq!(run.outstanding(), ["lock prod for a"]);
    run.grant("a", "prod", 1);
    assert!(run.outstanding().is_empty());
    run.go_on().unwrap();
    assert_eq!(run.outstanding(), ["a:1:1"]);
}

#[test]
fn it_cannot_be_mistaken_for_an_approval() {
    let mut run = at_a();
    run.suspend().unwrap();
    assert_eq!(run.decide(true, Some("ada")), Err(Refused::Suspended("ops".to_owned())));
    assert_eq!(run.suspend(), Err(Refused::AlreadySuspended("ops".to_owned())));
    run.go_on().unwrap();
    assert_eq!(run.go_on(), Err(Refused::NotSuspended));
    run.ok("a", json!({}));
    run.ok("b", json!({}));
    assert_eq!(run.state.status, Status::Paused);
    assert_eq!(run.go_on(), Err(Refused::NotSuspended), "it waits for a person");
    run.suspend().unwrap();
    run.go_on().unwrap();
    assert_eq!(run.state.status, Status::Paused, "it still waits for a person");
    run.suspend().unwrap();
    run.approve("ada");
    assert_eq!(run.state.status, Status::Paused, "decided, and held up");
    run.go_on().unwrap();
    assert_eq!(run.outstanding(), ["c:1:1"]);
}

#[test]
fn a_run_that_is_held_up_can_be_cancelled_and_does_not_end_by_itself() {
    let mut run = Run::start("steps:\n  - {id: a, type: agent_call, agent: reader}\n");
    run.suspend().unwrap();
    run.ok("a", json!({}));
    assert_eq!(run.state.status, Status::Paused);
    run.go_on().unwrap();
    assert_eq!(run.ending().0, Status::Completed);
    assert_eq!(run.suspend(), Err(Refused::EndedBefore(Status::Completed)));
    let mut run = at_a();
    run.suspend().unwrap();
    run.cancel(false).unwrap();
    assert_eq!(run.ending().0, Status::Cancelled);
}

fn due(round: u32) -> Input {
    Input::TimerDue { step: DEADLINE.to_owned(), visit: round }
}

#[test]
fn a_deadline_ends_whatever_goes_on() {
    let mut run = Run::start(&format!("deadline: 1h\n{STEPS}"));
    run.grant("a", "prod", 1);
    assert_eq!(run.later(3_599_999).input(due(1)), Err(Refused::NotWaitingForTimer));
    run.later(1);
    let trail = run.input(due(1)).unwrap();
    assert_eq!(trail, ["expire_workflow a", "release_lock a", "notify", "complete_workflow"]);
    assert_eq!(run.ending().0, Status::Failed);
    assert_eq!(run.blame(), (Some("a"), Some("deadline_exceeded")));
    assert_eq!(run.input(due(1)), Err(Refused::NotWaitingForTimer));
    run.deliver_messages();
    // A person who has it go on gives it as long again.
    run.later(1_000).retry_from("a", 3).unwrap();
    assert_eq!(run.input(due(1)), Err(Refused::NotWaitingForTimer));
    assert_eq!(run.later(3_599_999).input(due(2)), Err(Refused::NotWaitingForTimer));
    run.later(1).input(due(2)).unwrap();
    assert_eq!(run.state.status, Status::Failed);
}

#[test]
fn a_deadline_closes_approvals_and_does_not_break_off_what_a_cancellation_undoes() {
    let mut run = Run::start(&format!("deadline: 1h\n{STEPS}"));
    run.grant("a", "prod", 1);
    run.ok("a", json!({}));
    run.ok("b", json!({}));
    run.later(3_600_000).input(due(1)).unwrap();
    assert_eq!(run.state.approvals[0].status, "expired");
    let mut run = Run::start(
        "deadline: 1h
on_cancel: b
steps:
  - {id: a, type: agent_call, agent: reader}
  - {id: b, type: agent_call, agent: writer}
",
    );
    run.cancel(false).unwrap();
    assert_eq!(run.later(3_600_000).input(due(1)), Err(Refused::NotWaitingForTimer));
    run.ok("b", json!({}));
    assert_eq!(run.ending().0, Status::Cancelled);
}

#[test]
fn an_abandoned_run_is_marked_and_no_other() {
    let mut run = at_a();
    let touched = run.state.updated_at;
    let since = |ms: u64| Input::Abandoned { untouched_since: touched.plus_ms(ms) };
    run.later(86_400_000);
    let earlier = sluice_proto::timestamp::Timestamp::from_micros(touched.as_micros() - 1);
    assert_eq!(
        run.input(Input::Abandoned { untouched_since: earlier }),
        Err(Refused::NotWaitingForTimer)
    );
    run.suspend().unwrap();
    assert_eq!(run.input(since(86_400_000)), Err(Refused::NotWaitingForTimer));
    run.go_on().unwrap();
    run.input(since(86_400_000)).unwrap();
    assert_eq!(run.blame(), (Some("a"), Some("expired")));
    assert_eq!(run.ending().0, Status::Failed);
}
