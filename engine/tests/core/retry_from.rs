//! A person has a failed run go on from a step.

use serde_json::json;
use sluice_engine::{MAX_COMMANDED_RETRIES, Refused};
use sluice_proto::event::{Status, StepStatus};

use crate::run::Run;

const THREE: &str = "steps:
  - {id: build, type: agent_call, agent: reader, on_success: test}
  - {id: test, type: agent_call, agent: reader, resource_lock: prod, on_success: deploy}
  - {id: deploy, type: agent_call, agent: writer, resource_lock: prod, payload: {score: \"{{ outputs.test.score }}\"}}
  - {id: spare, type: agent_call, agent: reader}
notifications: [{trigger: workflow_failed, channels: [log]}]
";

fn failed() -> Run {
    let mut run = Run::start(THREE);
    run.ok("build", json!({"n": 1}));
    run.grant("test", "prod", 1);
    run.ok("test", json!({"score": 5}));
    run.fail("deploy", Some(true));
    assert_eq!(run.state.status, Status::Failed);
    run.deliver_messages();
    run
}

#[test]
fn it_waits_twice_as_long_every_time() {
    let mut run = failed();
    for (n, delay) in [(1, 2.0), (2, 4.0), (3, 8.0)] {
        assert_eq!(run.retry_from("deploy", 3).unwrap(), ["retry_step deploy"]);
        let data = run.data("retry_step");
        assert_eq!((&data["retry_attempt"], &data["max_retries"]), (&json!(n), &json!(3)));
        assert_eq!(data["backoff_delay"], delay);
        assert_eq!(data["command"]["requested_by"], "ops");
        run.grant("deploy", "prod", 1 + n);
        let wish = run.attempt("deploy");
        assert_eq!(u64::from(wish.visit), 1 + n, "a new visit has a new idempotency key");
        assert_eq!((wish.attempt, wish.due_at.unwrap().ms_since(run.now) as f64), (1, delay * 1e3));
        run.fail("deploy", Some(true));
        assert_eq!(run.state.status, Status::Failed);
    }
    let refused = Refused::RetriesUsedUp { step: "deploy".to_owned(), used: 3, limit: 3 };
    assert_eq!(run.retry_from("deploy", 3), Err(refused));
}

#[test]
fn the_server_has_a_limit_of_its_own() {
    let mut run = failed();
    for n in 0..MAX_COMMANDED_RETRIES {
        run.retry_from("deploy", 1_000).unwrap();
        assert_eq!(run.data("retry_step")["max_retries"], MAX_COMMANDED_RETRIES);
        run.grant("deploy", "prod", u64::from(n) + 2);
        run.fail("deploy", Some(true));
    }
    assert!(matches!(run.retry_from("deploy", 1_000), Err(Refused::RetriesUsedUp { .. })));
    // Another step has its own count.
    run.retry_from("test", 1).unwrap();
}

#[test]
fn what_came_after_the_step_runs_again_and_what_came_before_stays() {
    let mut run = failed();
    let history = run.events.clone();
    run.retry_from("test", 3).unwrap();
    assert_eq!(run.events[..history.len()], history[..], "history only grows");
    assert_eq!(run.state.status, Status::Running);
    assert_eq!(run.state.completed_at, None);
    assert_eq!(run.blame(), (None, None));
    assert_eq!(run.output("build"), &json!({"n": 1}));
    assert!(!run.state.outputs.contains_key("test") && !run.state.outputs.contains_key("deploy"));
    assert_eq!(run.state.steps["deploy"].status, StepStatus::Pending);
    assert_eq!(run.outstanding(), ["lock prod for test"], "the lock is taken again");
    run.grant("test", "prod", 2);
    run.ok("test", json!({"score": 9}));
    assert_eq!(run.draft("deploy").payload["score"], 9);
    run.ok("deploy", json!({}));
    assert_eq!(run.ending(), (Status::Completed, json!("workflow_complete")));
}

#[test]
fn it_fails_again_and_says_so_again() {
    let mut run = failed();
    run.retry_from("build", 3).unwrap();
    run.exhaust("build");
    assert_eq!(run.ending().0, Status::Failed);
    assert_eq!(run.outstanding(), ["workflow_failed.notify.0.1:1:1"]);
    run.deliver_messages();
}

#[test]
fn only_a_failed_run_and_a_step_that_was_reached() {
    let mut run = failed();
    assert_eq!(run.retry_from("spare", 3), Err(Refused::StepNotReached("spare".to_owned())));
    assert_eq!(run.retry_from("nothing", 3), Err(Refused::UnknownStep("nothing".to_owned())));
    assert!(matches!(run.retry_from("deploy", 0), Err(Refused::RetriesUsedUp { limit: 0, .. })));
    run.retry_from("deploy", 3).unwrap();
    assert_eq!(run.retry_from("deploy", 3), Err(Refused::NotFailed(Status::Running)));
    run.cancel(false).unwrap();
    assert_eq!(run.retry_from("deploy", 3), Err(Refused::NotFailed(Status::Cancelled)));
}

#[test]
fn a_loop_has_its_budget_again() {
    let mut run = Run::start(
        "steps:
  - {id: work, type: agent_call, agent: reader, on_success: check}
  - id: check
    type: agent_call
    agent: reader
    decision_gate: {type: deterministic_check, condition: outputs.check.good == true, on_true: workflow_complete, on_false: work}
error_recovery: {max_workflow_retries: 1}
",
    );
    let go_round = |run: &mut Run| {
        while !run.state.status.is_terminal() {
            let step = if run.state.active.contains_key("work") { "work" } else { "check" };
            run.ok(step, json!({"good": false}));
        }
        run.blame().1.map(str::to_owned)
    };
    assert_eq!(go_round(&mut run).as_deref(), Some("loop_limit"));
    let visits = run.state.steps["check"].visits;
    run.retry_from("check", 3).unwrap();
    assert_eq!(go_round(&mut run).as_deref(), Some("loop_limit"));
    assert!(run.state.steps["check"].visits >= visits + 2);
}

#[test]
fn what_went_into_a_step_is_older_than_it_also_in_a_loop() {
    let mut run = Run::start(
        "steps:
  - {id: work, type: agent_call, agent: reader, on_success: check}
  - id: check
    type: agent_call
    agent: reader
    decision_gate: {type: deterministic_check, condition: outputs.check.good == true, on_true: workflow_complete, on_false: work}
",
    );
    run.ok("work", json!({"n": 1}));
    run.ok("check", json!({"good": false}));
    run.ok("work", json!({"n": 2}));
    run.fail("check", Some(false));
    run.retry_from("check", 3).unwrap();
    assert_eq!(run.output("work"), &json!({"n": 2}));
    run.ok("check", json!({"good": true}));
    assert_eq!(run.ending().0, Status::Completed);
}

#[test]
fn a_rollback_is_retried_under_the_lock_that_it_undoes() {
    let mut run = Run::start(
        "steps:
  - {id: apply, type: agent_call, agent: writer, resource_lock: prod, on_failure: undo}
  - {id: undo, type: agent_call, agent: writer, payload: {action: rollback}, on_success: notify_rollback}
",
    );
    run.grant("apply", "prod", 1);
    run.fail("apply", Some(false));
    run.fail("undo", Some(false));
    run.deliver_messages();
    assert_eq!(run.state.status, Status::Failed);
    run.retry_from("undo", 3).unwrap();
    assert_eq!(run.outstanding(), ["lock prod for undo"]);
    run.grant("undo", "prod", 2);
    run.ok("undo", json!({}));
    assert_eq!(run.ending().0, Status::RolledBack);
}
