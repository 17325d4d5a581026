//! Locks: asked for on the way in, kept as long as the chain names them, never longer.

use serde_json::json;
use sluice_engine::{Effect, Input, Refused};
use sluice_proto::event::{ForcedRelease, Status};
use sluice_proto::message::CommandLock;

use crate::run::Run;

const CHAIN: &str = "steps:
  - {id: plan, type: agent_call, agent: reader, resource_lock: \"infra:{{ context.env }}\", on_success: approve}
  - {id: approve, type: hitl_approval, on_approved: apply, on_rejected: told}
  - {id: apply, type: agent_call, agent: writer, resource_lock: \"infra:{{ context.env }}\", on_success: document, on_failure: undo}
  - {id: undo, type: agent_call, agent: writer, payload: {action: rollback}, on_success: notify_rollback}
  - {id: document, type: agent_call, agent: reader}
  - {id: told, type: notification, channels: [log], on_complete: workflow_failed}
";

fn planned() -> Run {
    let mut run = Run::start_with(CHAIN, json!({"env": "prod"}));
    run.grant("plan", "infra:prod", 1);
    run.ok("plan", json!({}));
    run
}

fn held(run: &Run) -> Vec<&str> {
    run.state.locks.keys().map(String::as_str).collect()
}

#[test]
fn nothing_is_done_before_the_lock_is_there() {
    let mut run = Run::start_with(CHAIN, json!({"env": "prod"}));
    assert_eq!(run.outstanding(), ["lock infra:prod for plan"]);
    let early = Input::Result {
        path: "plan".to_owned(),
        visit: 1,
        attempt: 1,
        report: crate::run::success(json!({})),
    };
    assert_eq!(run.input(early), Err(Refused::NotOutstanding));
    run.queue("plan", "infra:prod");
    assert!(run.queue("plan", "infra:prod").is_empty());
    run.grant("plan", "infra:prod", 1);
    assert_eq!(run.outstanding(), ["plan:1:1"]);
}

#[test]
fn kept_over_the_approval_and_handed_on() {
    let mut run = planned();
    assert_eq!((run.state.status, held(&run)), (Status::Paused, vec!["infra:prod"]));
    run.approve("ada");
    assert_eq!((run.outstanding(), held(&run)), (vec!["apply:1:1"], vec!["infra:prod"]));
    // On leaving the chain, before the next step works.
    assert_eq!(run.ok("apply", json!({})), ["complete_step apply", "release_lock plan"]);
    assert_eq!(
        run.effects[0],
        Effect::DropAttempt(sluice_engine::WishedAttempt {
            path: "apply".to_owned(),
            ..drop_of(&run)
        })
    );
    assert!(run.effects.contains(&Effect::ReleaseLock("infra:prod".to_owned())));
    assert!(held(&run).is_empty());
}

fn drop_of(run: &Run) -> sluice_engine::WishedAttempt {
    run.effects
        .iter()
        .find_map(|effect| match effect {
            Effect::DropAttempt(wish) => Some(wish.clone()),
            _ => None,
        })
        .unwrap()
}

#[test]
fn released_when_the_answer_is_no() {
    let mut run = planned();
    assert_eq!(
        run.reject("ada"),
        ["reject_gate approve", "resume_workflow approve", "release_lock plan"]
    );
    assert_eq!(run.outstanding(), ["told:1:1"]);
}

#[test]
fn kept_for_the_rollback_step_that_follows() {
    let mut run = planned();
    run.approve("ada");
    run.fail("apply", None);
    assert_eq!((run.outstanding(), held(&run)), (vec!["undo:1:1"], vec!["infra:prod"]));
    let events = run.ok("undo", json!({}));
    assert_eq!(
        events,
        ["complete_step undo", "rollback_step apply", "release_lock plan", "complete_workflow"]
    );
    assert_eq!(run.ending().0, Status::RolledBack);
}

#[test]
fn kept_over_a_loop_and_a_retry() {
    let mut run = Run::start(
        "steps:
  - {id: a, type: agent_call, agent: reader, resource_lock: x, on_success: b}
  - {id: b, type: conditional, condition: outputs.a.again, on_true: a, on_false: workflow_complete}
",
    );
    run.grant("a", "x", 1);
    run.fail("a", Some(true));
    assert_eq!(held(&run), ["x"]);
    run.ok("a", json!({"again": true}));
    assert_eq!((run.outstanding(), held(&run)), (vec!["a:2:1"], vec!["x"]));
    let events = run.ok("a", json!({"again": false}));
    assert_eq!(
        events,
        ["complete_step a", "complete_step b", "release_lock a", "complete_workflow"]
    );
}

#[test]
fn one_lock_is_given_up_before_the_next_is_asked_for() {
    let mut run = Run::start(
        "steps:
  - {id: a, type: agent_call, agent: reader, resource_lock: x, on_success: b}
  - {id: b, type: agent_call, agent: reader, resource_lock: y}
",
    );
    run.grant("a", "x", 1);
    assert_eq!(run.ok("a", json!({})), ["complete_step a", "release_lock a"]);
    assert_eq!(run.outstanding(), ["lock y for b"]);
}

#[test]
fn a_lock_that_is_given_up_at_once_is_given_up_for_all_to_see() {
    let mut run = Run::start(
        "steps:
  - {id: a, type: conditional, condition: \"true\", resource_lock: x, on_true: b, on_false: b}
  - {id: b, type: agent_call, agent: reader}
",
    );
    assert_eq!(run.grant("a", "x", 1), ["acquire_lock a", "complete_step a", "release_lock a"]);
    assert!(run.effects.contains(&Effect::ReleaseLock("x".to_owned())), "{:?}", run.effects);
}

#[test]
fn a_name_that_renders_to_nothing_is_an_error() {
    let run = Run::start_with(
        "steps: [{id: a, type: agent_call, agent: reader, resource_lock: \"{{ context.env }}\"}]\n",
        json!({}),
    );
    assert_eq!(run.ending().0, Status::Failed);
    assert_eq!(run.blame(), (Some("a"), Some("lock_error")));
}

#[test]
fn the_name_is_that_of_the_moment_of_entry() {
    let mut run = Run::start(
        "steps:
  - {id: a, type: agent_call, agent: reader, on_success: b}
  - {id: b, type: agent_call, agent: reader, resource_lock: \"x:{{ outputs.a.name }}\"}
",
    );
    run.ok("a", json!({"name": "one"}));
    assert_eq!(run.outstanding(), ["lock x:one for b"]);
}

fn impatient(step: &str) -> Run {
    Run::start(&format!(
        "steps:
  - {{id: a, resource_lock: x, lock_wait: 30s, {step}}}
  - {{id: late, type: agent_call, agent: reader}}
  - {{id: b, type: agent_call, agent: reader}}
error_handling: [{{step: a, max_retries: 1, on_error: late}}]
"
    ))
}

fn time_out(run: &mut Run) -> Result<Vec<String>, Refused> {
    run.input(Input::LockTimedOut { step: "a".to_owned(), name: "x".to_owned() })
}

#[test]
fn a_wait_may_have_an_end() {
    let mut run = impatient("type: agent_call, agent: reader");
    run.queue("a", "x");
    assert_eq!(time_out(run.later(29_000)), Err(Refused::NotWaitingForLock));
    assert_eq!(time_out(run.later(1_000)).unwrap(), ["fail_step a", "retry_step a"]);
    assert_eq!(run.data("fail_step")["error_type"], "lock_timeout");
    // The run keeps its place; the second wait begins after the pause.
    assert_eq!(run.outstanding(), ["lock x for a"]);
    assert_eq!(
        sluice_engine::status_response(&run.template, &run.state).waiting_for_lock.as_deref(),
        Some("x")
    );
    assert_eq!(time_out(run.later(31_000)), Err(Refused::NotWaitingForLock));
    assert_eq!(time_out(run.later(1_000)).unwrap(), ["fail_step a"]);
    assert_eq!(run.outstanding(), ["late:1:1"]);
}

#[test]
fn a_wait_ends_for_steps_without_an_agent_too() {
    for step in [
        "type: hitl_approval, on_approved: b, on_rejected: b",
        "type: conditional, condition: \"true\", on_true: b, on_false: b",
        "type: terminal",
    ] {
        let mut run = impatient(step);
        run.queue("a", "x");
        let mut sweeps = 0;
        while !run.state.active.contains_key("late") {
            time_out(run.later(100_000)).unwrap();
            sweeps += 1;
            assert!(sweeps < 10, "{step}: {:?}", run.trail());
        }
        assert_eq!(run.state.outputs["a"]["error_type"], "lock_timeout");
        assert_eq!(run.outstanding(), ["late:1:1"]);
    }
}

#[test]
fn grants_that_nobody_waits_for() {
    let mut run = planned();
    for (step, name) in [("plan", "infra:prod"), ("apply", "infra:prod"), ("nowhere", "x")] {
        let (step, name) = (step.to_owned(), name.to_owned());
        let input = Input::LockGranted { step, name, fencing_number: 9 };
        assert_eq!(run.input(input), Err(Refused::NotWaitingForLock));
    }
}

fn take_away(run: &mut Run, name: &str) -> Result<Vec<String>, Refused> {
    let forced = ForcedRelease { reason: "stuck".to_owned(), released_by: "ada".to_owned() };
    run.input(Input::LockRevoked { name: name.to_owned(), forced })
}

#[test]
fn a_lock_that_is_taken_away_fails_the_step_under_it() {
    let mut run = planned();
    run.approve("ada");
    assert_eq!(
        take_away(&mut run, "infra:prod").unwrap(),
        ["release_lock plan", "fail_step apply"]
    );
    assert_eq!(
        run.data("release_lock")["forced"],
        json!({"reason": "stuck", "released_by": "ada"})
    );
    assert_eq!(run.data("fail_step")["error_type"], "lock_lost");
    assert!(run.effects.contains(&Effect::ReleaseLock("infra:prod".to_owned())));
    // It may have begun to change the world: the rollback follows, and nothing is tried again.
    assert_eq!((run.outstanding(), held(&run)), (vec!["undo:1:1"], vec![]));
    assert_eq!(take_away(&mut run, "infra:prod"), Err(Refused::NotHoldingLock));
}

#[test]
fn a_step_that_only_looks_asks_for_the_lock_anew() {
    let mut run = Run::start_with(CHAIN, json!({"env": "prod"}));
    run.grant("plan", "infra:prod", 1);
    let events = take_away(&mut run, "infra:prod").unwrap();
    assert_eq!(events, ["release_lock plan", "fail_step plan", "retry_step plan"]);
    assert_eq!(run.outstanding(), ["lock infra:prod for plan"]);
    run.grant("plan", "infra:prod", 2);
    assert_eq!(run.outstanding(), ["plan:1:2"]);
}

#[test]
fn a_lock_that_is_taken_away_during_a_pause_is_asked_for_again() {
    let mut run = planned();
    assert_eq!(take_away(&mut run, "infra:prod").unwrap(), ["release_lock plan"]);
    assert_eq!(run.state.status, Status::Paused);
    run.approve("ada");
    assert_eq!(run.outstanding(), ["lock infra:prod for apply"]);
}

#[test]
fn a_wait_that_would_never_end_is_not_begun() {
    let mut run = impatient("type: agent_call, agent: reader");
    let refused = |step: &str| Input::LockRefused {
        step: step.to_owned(),
        name: "x".to_owned(),
        circle: vec!["run-7".to_owned()],
    };
    assert_eq!(run.input(refused("late")), Err(Refused::NotWaitingForLock));
    assert_eq!(run.input(refused("a")).unwrap(), ["fail_step a"]);
    assert_eq!(run.data("fail_step")["error_type"], "lock_deadlock");
    let message = run.data("fail_step")["error"].as_str().unwrap().to_owned();
    assert!(message.contains("run-7, run-1"), "{message}");
    assert_eq!(run.outstanding(), ["late:1:1"]);
}

#[test]
fn commands_carry_the_fencing_numbers() {
    let mut run = Run::start_with(CHAIN, json!({"env": "prod"}));
    run.grant("plan", "infra:prod", 41);
    let draft = run.effects.iter().find_map(|effect| match effect {
        Effect::CreateAttempt(draft) => Some(draft.locks.clone()),
        _ => None,
    });
    let lock = CommandLock { name: "infra:prod".to_owned(), fencing_number: 41 };
    assert_eq!(draft, Some(vec![lock]));
}
