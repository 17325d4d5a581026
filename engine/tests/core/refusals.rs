//! Late, repeated and superseded inputs: answers, not errors, and nothing changes.

use serde_json::{Map, json};
use sluice_engine::attempt::Loss;
use sluice_engine::{Input, Refused};

use crate::run::{Run, success};

fn check(run: &mut Run, input: Input, expected: &Refused) {
    let before = (run.state.clone(), run.events.len());
    assert_eq!(run.input(input).as_ref(), Err(expected));
    assert_eq!((run.state.clone(), run.events.len()), before);
}

fn result(path: &str, visit: u32, attempt: u32) -> Input {
    Input::Result { path: path.to_owned(), visit, attempt, report: success(json!({})) }
}

const GATED: &str = "steps:
  - id: a
    type: agent_call
    agent: reader
    decision_gate: {type: llm_assessment, prompt: Well?, on_again: a, on_done: b}
  - {id: b, type: agent_call, agent: reader}
notifications: [{trigger: workflow_complete, channels: [log]}]
";

#[test]
fn results_of_attempts_that_are_not_outstanding() {
    let mut run = Run::start(GATED);
    let refused = Refused::NotOutstanding;
    for (path, visit, attempt) in
        [("a", 1, 2), ("a", 2, 1), ("b", 1, 1), ("a.gate", 1, 1), ("c", 1, 1), ("", 1, 1)]
    {
        check(&mut run, result(path, visit, attempt), &refused);
    }
    run.fail("a", Some(true));
    check(&mut run, result("a", 1, 1), &refused);
    run.ok("a", json!({}));
    check(&mut run, result("a", 1, 2), &refused);
    run.ok("a.gate", json!({"decision": "again"}));
    check(&mut run, result("a.gate", 1, 1), &refused);
    check(&mut run, result("a", 1, 2), &refused);
    run.ok("a", json!({}));
    run.ok("a.gate", json!({"decision": "done"}));
    run.ok("b", json!({}));
    check(&mut run, result("b", 1, 1), &refused);
    let lost = Input::Lost { path: "b".to_owned(), visit: 1, attempt: 1, loss: Loss::TimedOut };
    check(&mut run, lost, &refused);
    run.ok("workflow_complete.notify.0", json!({}));
    check(&mut run, result("workflow_complete.notify.0", 1, 1), &refused);
}

#[test]
fn a_run_starts_once() {
    let mut run = Run::start(GATED);
    check(&mut run, Input::Start { context: Map::new() }, &Refused::AlreadyStarted);
}

#[test]
fn a_run_that_has_not_started_waits_for_nothing() {
    let mut run = Run::new(GATED);
    check(&mut run, result("a", 1, 1), &Refused::NotOutstanding);
    check(&mut run, Input::Decision(sluice_engine::Decision::default()), &Refused::NotPaused);
    let grant =
        Input::LockGranted { step: "a".to_owned(), name: "x".to_owned(), fencing_number: 1 };
    check(&mut run, grant, &Refused::NotWaitingForLock);
}

#[test]
fn nothing_revives_a_run_that_has_ended() {
    let mut run = Run::start(GATED);
    run.ok("a", json!({}));
    run.ok("a.gate", json!({"decision": "done"}));
    let events = run.events.clone();
    run.ok("b", json!({}));
    let ended = run.state.clone();
    // Whatever stands in the record after the end, as in one that was tampered with.
    for event in events {
        let mut state = ended.clone();
        sluice_engine::apply(&mut state, event.step_id.as_deref(), &event.body, run.now);
        assert_eq!(state.status, ended.status, "{event:?}");
        assert_eq!((state.outputs, state.active), (ended.outputs.clone(), ended.active.clone()));
    }
}
