//! How often something is tried, when, and what follows when nothing helps.

use serde_json::json;
use sluice_engine::Report;
use sluice_engine::attempt::Loss;
use sluice_proto::event::Status;
use sluice_proto::message::AgentError;

use crate::run::{Run, failure};

fn one_step(agent: &str, more: &str) -> Run {
    Run::start(&format!(
        "steps:\n  - {{id: work, type: agent_call, agent: {agent}}}\n  - {{id: spare, type: agent_call, agent: reader}}\n{more}"
    ))
}

#[test]
fn delays_double_and_jitter_moves_only_the_start() {
    for (jitter, starts_ms) in
        [(0.0, [2_000, 4_000, 8_000]), (1.0, [2_500, 5_000, 10_000]), (-1.0, [1_500, 3_000, 6_000])]
    {
        let mut run = one_step("reader", "");
        run.jitter = jitter;
        for (n, (start_ms, nominal)) in starts_ms.into_iter().zip([2.0, 4.0, 8.0]).enumerate() {
            run.fail("work", Some(true));
            let retry = run.data("retry_step");
            assert_eq!(retry["backoff_delay"], json!(nominal));
            assert_eq!(retry["retry_attempt"], json!(n + 1));
            let due_at = run.attempt("work").due_at.unwrap();
            assert_eq!(due_at.ms_since(run.now), start_ms);
            assert_eq!(run.state.steps["work"].retries as usize, n + 1);
        }
        run.fail("work", Some(true));
        assert_eq!(run.state.status, Status::Failed);
    }
}

#[test]
fn attempts_of_a_step() {
    let handling = |keys: &str| format!("error_handling:\n  - {{step: work, {keys}}}\n");
    let recovery = |keys: &str| format!("error_recovery: {{{keys}}}\n");
    let cases = [
        ("reader", String::new(), 4),
        ("writer", String::new(), 1),
        ("keyed", String::new(), 1),
        // Nobody declared it, and its name says that it changes things.
        ("infrastructure", String::new(), 1),
        ("stranger", String::new(), 4),
        ("reader", handling("max_retries: 1"), 2),
        ("writer", handling("max_retries: 2"), 3),
        ("reader", handling("max_retries: 5, fail_fast: true"), 1),
        ("reader", handling("max_retries: 5, recovery_tier: TIER_0"), 1),
        ("reader", handling("max_retries: 0"), 1),
        ("reader", recovery("max_retries: 1"), 2),
        ("reader", recovery("enabled: false, max_retries: 4"), 1),
        ("reader", recovery("step_overrides: {work: {max_retries: 2}}"), 3),
        (
            "reader",
            handling("max_retries: 1") + &recovery("step_overrides: {work: {max_retries: 2}}"),
            2,
        ),
        (
            "reader",
            handling("recovery_tier: TIER_2")
                + &recovery("step_overrides: {work: {max_tier: TIER_0}}"),
            1,
        ),
    ];
    for (agent, more, attempts) in cases {
        let mut run = one_step(agent, &more);
        assert_eq!(run.exhaust("work"), attempts, "{agent} with {more}");
    }
}

#[test]
fn whether_a_failure_is_tried_again() {
    for (agent, retryable, again) in [
        ("reader", Some(true), true),
        ("reader", None, true),
        ("reader", Some(false), false),
        ("writer", Some(true), true),
        ("writer", None, false),
        ("writer", Some(false), false),
    ] {
        let mut run = one_step(agent, "error_handling: [{step: work, max_retries: 1}]\n");
        run.fail("work", retryable);
        assert_eq!(!run.state.status.is_terminal(), again, "{agent} {retryable:?}");
    }
}

#[test]
fn losses() {
    for (loss, code, again) in [
        (Loss::Interrupted, "interrupted", false),
        (Loss::Undeliverable, "undeliverable", false),
        (Loss::TimedOut, "timeout", true),
        (Loss::QueueTimedOut, "queue_timeout", true),
        (Loss::TooLarge, "command_too_large", false),
    ] {
        let mut run = one_step("writer", "error_handling: [{step: work, max_retries: 3}]\n");
        run.lose("work", loss);
        assert_eq!(run.data("fail_step")["error_type"], code);
        assert_eq!(!run.state.status.is_terminal(), again, "{loss:?}");
    }
}

#[test]
fn an_agent_may_ask_for_a_longer_pause() {
    for (asked_ms, waited_ms) in [(500, 2_000), (30_000, 30_000), (86_400_000, 3_600_000)] {
        let mut run = one_step("reader", "");
        let Report { outcome, .. } = failure("http_429", Some(true));
        let error = AgentError { retry_after_ms: Some(asked_ms), ..outcome.unwrap_err() };
        run.report("work", Report { outcome: Err(error), ..failure("", None) });
        assert_eq!(run.attempt("work").due_at.unwrap().ms_since(run.now), waited_ms);
        assert_eq!(run.data("retry_step")["backoff_delay"], json!(2.0));
    }
}

#[test]
fn routes_of_a_failure() {
    const TRIGGER: &str = "notifications: [{trigger: notify_failure, channels: [log]}]\n";
    let handled = "error_handling: [{step: work, max_retries: 0, on_error: by_entry}]\n";
    let steps = |on_failure: &str| {
        format!(
            "steps:
  - {{id: work, type: agent_call, agent: writer{on_failure}}}
  - {{id: by_step, type: agent_call, agent: reader}}
  - {{id: by_entry, type: agent_call, agent: reader}}
"
        )
    };
    let cases = [
        (steps(", on_failure: by_step") + handled, "by_step"),
        (steps("") + handled, "by_entry"),
        (steps("") + TRIGGER, "notify_failure"),
        (steps(""), "workflow_failed"),
    ];
    for (text, next) in cases {
        let mut run = Run::start(&text);
        run.fail("work", Some(true));
        assert_eq!(run.data("fail_step")["next_step"], next);
        assert_eq!(run.output("work")["status"], "error");
    }
}

#[test]
fn a_handled_failure_is_no_failure_of_the_run() {
    let mut run = Run::start(
        "steps:
  - {id: work, type: agent_call, agent: writer, on_failure: spare}
  - {id: spare, type: agent_call, agent: reader}
",
    );
    run.fail("work", None);
    run.ok("spare", json!({}));
    assert_eq!(run.ending(), (Status::Completed, json!("workflow_complete")));
    assert_eq!(run.blame(), (None, None));
}

#[test]
fn errors_are_bounded_and_named() {
    let mut run = one_step("reader", "");
    let error = AgentError { message: "é".repeat(9_000), ..AgentError::default() };
    run.report("work", Report { outcome: Err(error), ..failure("", None) });
    let data = run.data("fail_step");
    assert_eq!(data["error"].as_str().unwrap().chars().count(), 4_000);
    assert_eq!(data["error_type"], "agent_error");
}
