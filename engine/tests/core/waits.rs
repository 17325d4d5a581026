//! Steps that wait for a moment.

use serde_json::json;
use sluice_engine::{Effect, Input, Refused, status_response};
use sluice_proto::event::Status;
use sluice_proto::timestamp::Timestamp;

use crate::run::Run;

const SOAK: &str = "steps:
  - {id: deploy, type: agent_call, agent: reader, resource_lock: x, on_success: soak}
  - {id: soak, type: wait, for: 90s, on_success: check}
  - {id: check, type: agent_call, agent: reader, resource_lock: x, on_success: workflow_complete}
";

fn until(text: &str) -> String {
    format!(
        "steps:
  - {{id: pause, type: wait, until: {text}, on_success: notify_success, on_failure: late}}
  - {{id: late, type: terminal}}
"
    )
}

#[test]
fn a_wait_is_a_timer_and_nothing_else() {
    let mut run = Run::start(SOAK);
    run.grant("deploy", "x", 1);
    let begun = run.now;
    assert_eq!(run.ok("deploy", json!({})), ["complete_step deploy", "start_timer soak"]);
    assert_eq!(run.outstanding(), [format!("timer soak:1 at {}", begun.plus_ms(90_000))]);
    assert!(run.effects.iter().any(|effect| matches!(effect, Effect::StartTimer(_))));
    let shown = status_response(&run.template, &run.state);
    assert_eq!(shown.run.status, Status::Running);
    assert_eq!(shown.run.current_step.as_deref(), Some("soak"));
    assert_eq!(shown.waiting_until, Some(begun.plus_ms(90_000)));
    assert!(run.state.locks.contains_key("x"), "what comes after it runs under the same lock");
    assert_eq!(run.wake("soak"), ["complete_step soak"]);
    assert_eq!(run.output("soak"), &json!({"until": begun.plus_ms(90_000)}));
    run.ok("check", json!({}));
    assert_eq!(run.ending().0, Status::Completed);
}

#[test]
fn a_timer_that_is_not_due_or_not_there_changes_nothing() {
    let mut run = Run::start(SOAK);
    let due = |step: &str, visit| Input::TimerDue { step: step.to_owned(), visit };
    assert_eq!(run.input(due("soak", 1)), Err(Refused::NotWaitingForTimer));
    run.grant("deploy", "x", 1);
    run.ok("deploy", json!({}));
    run.later(89_999);
    for (step, visit) in [("soak", 1), ("soak", 2), ("check", 1), ("nowhere", 1)] {
        assert_eq!(run.input(due(step, visit)), Err(Refused::NotWaitingForTimer));
    }
    run.later(1).input(due("soak", 1)).unwrap();
    assert_eq!(run.input(due("soak", 1)), Err(Refused::NotWaitingForTimer));
}

#[test]
fn a_moment_may_come_from_the_run() {
    let moment = "2031-03-05T07:06:07+02:00";
    let mut run = Run::start_with(&until("\"{{ context.at }}\""), json!({"at": moment}));
    let at = Timestamp::parse(moment).unwrap();
    assert_eq!(run.outstanding(), [format!("timer pause:1 at {at}")]);
    run.wake("pause");
    assert_eq!(run.ending(), (Status::Completed, json!("notify_success")));
}

#[test]
fn a_moment_that_has_passed_is_not_waited_for() {
    let run = Run::start(&until("2031-03-04T05:06:07Z"));
    assert_eq!(run.ending(), (Status::Completed, json!("notify_success")));
    assert!(!run.trail().contains(&"start_timer pause".to_owned()));
}

#[test]
fn what_is_no_moment_fails_the_step() {
    for text in ["\"{{ context.nothing }}\"", "tomorrow", "2033-03-04T05:06:07Z", "\"17\""] {
        let run = Run::start(&until(text));
        assert_eq!(run.output("pause")["error_type"], "wait_error", "{text}");
        assert_eq!(run.trail()[1], "fail_step pause");
        assert_eq!(run.ending(), (Status::Completed, json!("workflow_complete")), "{text}");
    }
}
