//! Runs that are in several branches when they are held up, cancelled, or take too long.

use serde_json::json;
use sluice_engine::{BranchStatus, DEADLINE, Input};
use sluice_proto::event::Status;

use crate::run::Run;

const FAN: &str = "steps:
  - id: fan
    type: parallel
    branches:
      a: [{id: one, type: agent_call, agent: reader, on_success: two}, {id: two, type: agent_call, agent: reader}]
      b: [{id: rest, type: wait, for: 1h}]
      c: [{id: ask, type: hitl_approval, risk_assessment: {risk_level: high}, on_approved: branch_complete, on_rejected: branch_failed}]
      d: [{id: own, type: agent_call, agent: writer, resource_lock: prod}]
    on_success: after
  - {id: after, type: agent_call, agent: reader}
  - {id: undo, type: agent_call, agent: writer, resource_lock: prod}
";

fn due(round: u32) -> Input {
    Input::TimerDue { step: DEADLINE.to_owned(), visit: round }
}

#[test]
fn what_is_in_flight_in_branches_is_recorded_and_none_of_them_goes_on() {
    let mut run = Run::start(FAN);
    run.queue("fan.d.own", "prod");
    run.suspend().unwrap();
    assert_eq!(run.state.status, Status::Paused);
    let in_flight = &run.state.suspension.as_ref().unwrap().in_flight;
    let announced = "fan.c.ask.announce:1:1";
    assert_eq!(in_flight[..], ["fan.a.one:1:1", announced, "lock prod for fan.d.own"]);
    assert_eq!(run.ok("fan.a.one", json!({})), ["complete_step fan.a.one"]);
    run.approve("ada");
    assert_eq!(run.wake("fan.b.rest"), ["complete_step fan.b.rest"]);
    run.grant("fan.d.own", "prod", 1);
    run.deliver_messages();
    assert_eq!(run.state.status, Status::Paused, "held up, whatever ends in it");
    assert!(run.outstanding().is_empty(), "{:?}", run.outstanding());
    assert_eq!(run.go_on().unwrap(), ["continue_workflow"]);
    assert_eq!(run.outstanding(), ["fan.a.two:1:1", "fan.d.own:1:1"]);
    run.ok("fan.a.two", json!({}));
    let last = run.ok("fan.d.own", json!({}));
    assert_eq!(last, ["complete_step fan.d.own", "release_lock fan.d.own", "complete_step fan"]);
    run.ok("after", json!({}));
    assert_eq!(run.ending().0, Status::Completed);
}

#[test]
fn branches_that_end_while_the_run_is_held_up_are_joined_when_it_goes_on() {
    let mut run = Run::start_with(
        "steps:
  - {id: each, type: for_each, items: '{{ context.items }}', max_concurrent: 1, steps: [{id: do, type: agent_call, agent: writer}]}
",
        json!({"items": [1, 2]}),
    );
    run.suspend().unwrap();
    assert_eq!(run.ok("each.0.do", json!({})), ["complete_step each.0.do"]);
    assert_eq!(run.go_on().unwrap(), ["continue_workflow", "start_branches each"]);
    run.suspend().unwrap();
    assert_eq!(run.fail("each.1.do", Some(false)), ["fail_step each.1.do"]);
    assert_eq!(run.go_on().unwrap(), ["continue_workflow", "fail_step each", "complete_workflow"]);
}

#[test]
fn a_deadline_in_the_midst_of_branches_ends_the_run_and_not_a_branch() {
    let mut run = Run::start(&format!("deadline: 30m\n{FAN}"));
    run.grant("fan.d.own", "prod", 1);
    run.suspend().unwrap();
    run.later(1_800_000);
    let trail = run.input(due(1)).unwrap();
    assert_eq!(trail[0], "expire_workflow fan.a.one");
    assert_eq!(run.ending().0, Status::Failed);
    assert_eq!(run.blame(), (Some("fan.a.one"), Some("deadline_exceeded")));
    let branches = run.state.fans["fan"].branches.values();
    assert!(branches.clone().all(|branch| branch.status == BranchStatus::Stopped));
    assert_eq!(run.state.approvals[0].status, "expired");
    assert!(run.outstanding().is_empty() && run.state.locks.is_empty());
    // It goes on from the step, with all its branches.
    run.retry_from("fan", 3).unwrap();
    assert_eq!(run.outstanding().len(), 6, "{:?}", run.outstanding());
    assert_eq!(run.later(1_799_999).input(due(2)), Err(sluice_engine::Refused::NotWaitingForTimer));
    run.later(1).input(due(2)).unwrap();
    assert_eq!(run.blame().1, Some("deadline_exceeded"));
}

#[test]
fn who_cancels_a_run_that_is_held_up_in_branches_has_it_cleaned_up_after() {
    let mut run = Run::start(&format!("on_cancel: undo\n{FAN}"));
    run.grant("fan.d.own", "prod", 1);
    run.suspend().unwrap();
    run.ok("fan.a.one", json!({}));
    let trail = run.cancel(false).unwrap();
    assert_eq!(trail[0], "cancel_workflow fan.a.two");
    assert_eq!(run.outstanding(), ["undo:1:1"], "held up no longer, and nothing of the branches");
    assert!(run.state.locks.contains_key("prod"), "what is undone is undone under the lock");
    run.ok("undo", json!({}));
    assert_eq!(run.ending().0, Status::Cancelled);
    assert!(run.state.locks.is_empty());
}
