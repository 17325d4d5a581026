//! What follows a step that failed for good: breakers, escalation, compensation.

use serde_json::json;
use sluice_engine::attempt::Loss;
use sluice_engine::breaker::{Breaker, Breakers, RECOVERY_MS};
use sluice_proto::event::Status;
use sluice_proto::message::CommandKind;

use crate::run::Run;

/// A run of a step whose breaker opens at two failures, in a world in which these breakers stand.
fn guarded(breakers: &Breakers, more: &str) -> Run {
    let mut run = Run::new(&format!(
        "steps:
  - {{id: work, type: agent_call, agent: reader{more}, on_failure: spare}}
  - {{id: spare, type: agent_call, agent: reader}}
error_handling: [{{step: work, max_retries: 0, circuit_breaker: {{failure_threshold: 2}}}}]
"
    ));
    run.breakers = breakers.clone();
    run
}

fn begin(run: &mut Run) {
    run.input(sluice_engine::Input::Start { context: serde_json::Map::new() }).unwrap();
}

fn is_refused(run: &Run) -> bool {
    run.outstanding().iter().any(|what| what.starts_with("spare:"))
}

/// Breakers after this many runs in which the step failed.
fn after_failures(n: u32) -> Breakers {
    (0..n).fold(Breakers::new(), |breakers, _| {
        let mut run = guarded(&breakers, "");
        begin(&mut run);
        run.fail("work", Some(true));
        run.breakers
    })
}

#[test]
fn it_opens_at_its_threshold_and_refuses_at_once() {
    let breakers = after_failures(1);
    assert_eq!((breakers["work"].failures, breakers["work"].opened_at), (1, None));
    let breakers = after_failures(2);
    let mut run = guarded(&breakers, "");
    assert_eq!(breakers["work"].opened_at, Some(run.now));
    begin(&mut run);
    assert_eq!(
        run.trail(),
        ["start_workflow work", "fail_step work", "escalate work"],
        "nothing was dispatched, and people are told"
    );
    let data = run.data("fail_step");
    assert_eq!((&data["error_type"], &data["retriable"]), (&json!("circuit_open"), &json!(false)));
    assert!(is_refused(&run));
    assert_eq!(run.breakers, breakers, "a refusal is no failure of the step");
}

#[test]
fn an_execution_counts_once_however_often_it_was_tried() {
    let mut run = Run::start(
        "steps:
  - {id: work, type: agent_call, agent: reader}
error_handling: [{step: work, max_retries: 2, circuit_breaker: {failure_threshold: 2}}]
",
    );
    assert_eq!(run.exhaust("work"), 3);
    assert_eq!(run.breakers["work"].failures, 1);
}

#[test]
fn success_forgets_and_what_was_never_executed_does_not_count() {
    let mut run = guarded(&after_failures(1), "");
    begin(&mut run);
    run.ok("work", json!({}));
    assert!(run.breakers.is_empty());
    for (loss, counts) in [
        (Loss::Interrupted, true),
        (Loss::Undeliverable, true),
        (Loss::TimedOut, true),
        (Loss::QueueTimedOut, false),
        (Loss::TooLarge, false),
    ] {
        let mut run = guarded(&Breakers::new(), "");
        begin(&mut run);
        run.lose("work", loss);
        assert_eq!(!run.breakers.is_empty(), counts, "{loss:?}");
    }
}

#[test]
fn a_failing_gate_is_no_failure_of_its_step() {
    let gate = ", decision_gate: {type: llm_assessment, prompt: Well?, on_good: spare}";
    let mut run = guarded(&after_failures(1), gate);
    begin(&mut run);
    run.ok("work", json!({}));
    assert!(run.breakers.is_empty(), "the agent has worked");
    run.exhaust("work.gate");
    assert!(run.breakers.is_empty());
}

/// Runs one execution in a world whose clock stands `ms` after the breaker opened.
fn at(breakers: &Breakers, ms: u64) -> Run {
    let mut run = guarded(breakers, "");
    run.later(ms);
    begin(&mut run);
    run
}

#[test]
fn one_trial_at_a_time_and_two_that_work_close_it() {
    let open = after_failures(2);
    assert!(is_refused(&at(&open, RECOVERY_MS - 1)));
    let mut trial = at(&open, RECOVERY_MS);
    assert_eq!(trial.outstanding(), ["work:1:1"]);
    assert!(trial.breakers["work"].trial.is_some());
    assert!(is_refused(&at(&trial.breakers, RECOVERY_MS + 5)), "one at a time");
    trial.ok("work", json!({}));
    assert_eq!(
        (trial.breakers["work"].successes, trial.breakers["work"].trial.is_none()),
        (1, true)
    );
    let mut second = at(&trial.breakers, RECOVERY_MS + 10);
    second.ok("work", json!({}));
    assert!(second.breakers.is_empty(), "closed: {:?}", second.breakers);

    let mut trial = at(&open, RECOVERY_MS);
    trial.fail("work", Some(true));
    assert_eq!(trial.breakers["work"].opened_at, Some(trial.now), "it opens anew");
    assert!(is_refused(&at(&trial.breakers, 2 * RECOVERY_MS - 1)));
    assert!(!is_refused(&at(&trial.breakers, 2 * RECOVERY_MS)));
}

#[test]
fn a_cancelled_trial_lets_go() {
    let mut trial = at(&after_failures(2), RECOVERY_MS);
    trial.cancel(false).unwrap();
    assert_eq!(trial.breakers["work"].trial, None);
    assert!(!is_refused(&at(&trial.breakers, RECOVERY_MS + 5)));
}

#[test]
fn the_breaker_is_asked_when_the_lock_is_there() {
    let mut run = guarded(&Breakers::new(), ", resource_lock: prod");
    begin(&mut run);
    run.queue("work", "prod");
    run.breakers = after_failures(2);
    run.grant("work", "prod", 1);
    assert!(is_refused(&run));
    assert!(run.state.locks.is_empty());
}

#[test]
fn a_person_makes_the_trial_themselves() {
    let mut run = Run::start(
        "steps:
  - {id: work, type: agent_call, agent: reader}
error_handling: [{step: work, max_retries: 0, circuit_breaker: {failure_threshold: 1}}]
",
    );
    run.fail("work", Some(true));
    assert!(run.breakers["work"].opened_at.is_some());
    run.retry_from("work", 3).unwrap();
    assert_eq!(run.outstanding(), ["work:2:1"]);
    assert!(run.breakers["work"].trial.is_some());
}

#[test]
fn words_of_a_breaker() {
    let breakers = after_failures(2);
    let breaker = &breakers["work"];
    let opened_at = breaker.opened_at.unwrap();
    assert_eq!(Breaker::default().word(opened_at), "closed");
    assert_eq!(breaker.word(opened_at), "open");
    assert_eq!(breaker.word(opened_at.plus_ms(RECOVERY_MS)), "half_open");
}

const ESCALATING: &str = "steps:
  - {id: a, type: agent_call, agent: writer, on_failure: b}
  - {id: b, type: agent_call, agent: writer, on_failure: c}
  - {id: c, type: agent_call, agent: writer}
";

#[test]
fn a_failure_is_told_once_a_run() {
    let block = "error_recovery: {escalation: {on_any_failure: true, create_linear_issue: true, priority: urgent, notify_channels: [slack]}}\n";
    let mut run = Run::start(&format!("{ESCALATING}{block}"));
    let mut trail = run.fail("a", None);
    trail.extend(run.fail("b", None));
    trail.extend(run.fail("c", None));
    run.retry_from("c", 3).unwrap();
    trail.extend(run.fail("c", None));
    assert_eq!(trail.iter().filter(|event| event.starts_with("escalate")).count(), 1, "{trail:?}");
    let data = run.data("escalate");
    assert_eq!(data["reason"], "any_failure");
    assert_eq!(data["priority"], "urgent");
    assert_eq!(data["channels"], json!(["slack", "linear"]));
    assert_eq!(data["payload"]["data"]["title"], "[Workflow Error] Test - Step 'a' failed");
    run.deliver_messages();
    assert_eq!(run.state.notifications["a.notify.escalation"].request.status, "delivered");
}

#[test]
fn whom_a_failure_is_told() {
    let path = "error_handling: [{step: b, escalation_path: [code_review, hitl]}]\n";
    let mut run = Run::start(&format!("{ESCALATING}{path}"));
    assert!(!run.fail("a", None).iter().any(|event| event.starts_with("escalate")));
    run.fail("b", None);
    let data = run.data("escalate");
    assert_eq!((&data["reason"], &data["channels"]), (&json!("exhausted"), &json!(["linear"])));
    assert_eq!(data["escalation_path"], json!(["code-review", "hitl"]));

    let mut run =
        Run::start(&format!("{ESCALATING}error_handling: [{{step: a, recovery_tier: TIER_4}}]\n"));
    run.fail("a", None);
    assert_eq!(run.data("escalate")["reason"], "tier_4");

    let mut run = Run::start(ESCALATING);
    run.fail("a", None);
    run.fail("b", None);
    run.fail("c", None);
    assert!(!run.trail().iter().any(|event| event.starts_with("escalate")), "nobody asked for it");
}

#[test]
fn a_rollback_that_fails_is_critical() {
    let mut run = Run::start(
        "steps:
  - {id: deploy, type: agent_call, agent: writer, on_failure: undo}
  - {id: undo, type: agent_call, agent: writer, payload: {action: rollback}}
error_recovery: {escalation: {priority: normal, notify_channels: [pagerduty]}}
",
    );
    run.fail("deploy", None);
    run.fail("undo", None);
    let data = run.data("escalate");
    assert_eq!(
        (&data["reason"], &data["priority"]),
        (&json!("rollback_failed"), &json!("critical"))
    );
    assert_eq!(data["channels"], json!(["pagerduty"]));
    assert_eq!(run.ending().0, Status::Failed);
}

const COMPENSATED: &str = "steps:
  - {id: update, type: agent_call, agent: writer, resource_lock: prod, payload: {action: update, region: \"{{ context.region }}\"}, on_success: workflow_complete}
  - {id: told, type: notification, channels: [log], on_complete: workflow_failed}
error_handling: [{step: update, max_retries: 1, rollback: true, on_error: told}]
";

fn half_done() -> Run {
    let mut run = Run::start_with(COMPENSATED, json!({"region": "eu"}));
    run.grant("update", "prod", 1);
    run.fail("update", Some(true));
    run.fail("update", Some(true));
    run
}

#[test]
fn partial_changes_are_undone_by_who_made_them_under_their_lock() {
    let mut run = half_done();
    let draft = run.draft("update.undo");
    assert_eq!(draft.wish.kind, CommandKind::Compensate);
    assert_eq!((draft.wish.agent.as_str(), draft.claim), ("writer", true));
    assert_eq!(draft.payload, json!({"action": "rollback", "region": "eu"}));
    assert!(run.state.locks.contains_key("prod"));
    assert_eq!(run.output("update")["error_type"], "boom");
    let trail = run.ok("update.undo", json!({}));
    assert_eq!(trail, ["rollback_step update", "release_lock update"]);
    assert_eq!(run.output("update")["rolled_back"], true);
    run.deliver_messages();
    assert_eq!(run.ending().0, Status::Failed, "what other steps did is still there");
    assert_eq!(run.blame(), (Some("update"), Some("boom")));
}

#[test]
fn a_failed_undoing_is_recorded_and_the_run_goes_where_it_would() {
    let mut run = half_done();
    run.fail("update.undo", Some(true));
    let trail = run.fail("update.undo", Some(true));
    assert_eq!(trail, ["fail_step update.undo", "release_lock update"]);
    assert_eq!(run.output("update")["rollback_error"], "it went wrong");
    assert_eq!(run.output("update")["error_type"], "boom");
    run.deliver_messages();
    assert_eq!(run.ending().0, Status::Failed);
}

#[test]
fn nothing_is_undone_of_what_was_not_begun() {
    let mut run = Run::start_with(COMPENSATED, json!({"region": "eu"}));
    run.grant("update", "prod", 1);
    run.lose("update", Loss::TooLarge);
    assert_eq!(run.outstanding(), ["told:1:1"]);
    let mut run = half_done();
    run.cancel(false).unwrap();
    assert_eq!(run.ending().0, Status::Cancelled);
}
