//! Where an answer leads, and that none leads anywhere by accident.

use serde_json::{Value, json};
use sluice_proto::event::Status;

use crate::run::Run;

fn gated(routes: &str) -> Run {
    let mut run = Run::start(&format!(
        "steps:
  - id: review
    type: agent_call
    agent: reader
    on_success: wrong
    on_failure: failed
    decision_gate:
      type: llm_assessment
      prompt: Well?
{routes}
  - {{id: good, type: agent_call, agent: reader}}
  - {{id: bad, type: agent_call, agent: reader}}
  - {{id: wrong, type: agent_call, agent: reader}}
  - {{id: failed, type: agent_call, agent: reader}}
"
    ));
    run.ok("review", json!({"score": 1}));
    run
}

const ROUTES: &str = "      on_proceed: good\n      on_block: bad\n      on_true: good\n      on_false: bad\n      on_code_only: good\n      on_high: bad\n";

/// Where the run goes on an answer of the gate.
fn check(answer: &Value, next: &str) {
    let mut run = gated(ROUTES);
    run.ok("review.gate", answer.clone());
    let after = run.outstanding()[0].split(':').next().unwrap().to_owned();
    assert_eq!(after, next, "{answer}");
    if next == "failed" {
        assert_eq!(run.data("fail_step")["error_type"], "gate_error");
        assert_eq!(run.output("review")["error_type"], "gate_error");
    }
}

#[test]
fn answers_that_name_a_route() {
    check(&json!({"decision": "proceed"}), "good");
    check(&json!({"decision": " BLOCK "}), "bad");
    check(&json!({"path": "Code Only"}), "good");
    check(&json!({"path": "code-only"}), "good");
    check(&json!({"is_docs_only": true}), "good");
    check(&json!({"is_docs_only": false}), "bad");
    // The first routing key that is there and names a route.
    check(&json!({"risk_level": "high", "decision": "proceed"}), "good");
    check(&json!({"risk_level": "high", "path": "nowhere"}), "bad");
    // The only other key that does.
    check(&json!({"verdict": "block", "text": "proceed with care"}), "bad");
    check(&json!({"decision": "maybe", "verdict": "proceed"}), "good");
}

#[test]
fn answers_that_do_not() {
    check(&json!({}), "failed");
    check(&json!({"decision": "maybe"}), "failed");
    check(&json!({"decision": null}), "failed");
    check(&json!({"decision": ["proceed"]}), "failed");
    check(&json!({"nested": {"decision": "proceed"}}), "failed");
    check(&json!({"one": "proceed", "two": "block"}), "failed");
    check(&json!({"response": "I would proceed"}), "failed");
}

#[test]
fn only_the_gate_is_tried_again() {
    let mut run = gated(ROUTES);
    assert_eq!(run.outstanding(), ["review.gate:1:1"]);
    run.fail("review.gate", Some(true));
    assert_eq!(run.outstanding(), ["review.gate:1:2"]);
    assert_eq!(run.data("fail_step")["error_type"], "gate_error");
    run.fail("review.gate", None);
    run.fail("review.gate", Some(true));
    // Two retries, then the step has failed.
    assert_eq!(run.outstanding(), ["failed:1:1"]);
    assert_eq!(run.trail().iter().filter(|name| *name == "record_output review").count(), 1);
}

#[test]
fn rules_decide_without_a_model() {
    let rules = "      rules:
        - when: outputs.review.missing > 3
          answer: {decision: block}
        - when: outputs.review.score >= 1
          answer: {decision: proceed, reasoning: \"score {{ outputs.review.score }}\"}
";
    let mut run = gated(&format!("{rules}{ROUTES}"));
    assert_eq!(run.outstanding(), ["good:1:1"]);
    let data = run.data("complete_step");
    assert_eq!((&data["decided_by"], &data["decision"]), (&json!("rules"), &json!("proceed")));
    assert_eq!(data["answer"], json!({"decision": "proceed", "reasoning": "score 1"}));
    assert!(data["problems"][0].as_str().unwrap().contains("outputs.review.missing"), "{data:#}");
    run.ok("good", json!({}));
    assert_eq!(run.state.status, Status::Completed);
}

#[test]
fn a_rule_whose_answer_leads_nowhere_fails_the_step() {
    let rules = "      rules: [{when: outputs.review.score >= 1, answer: {decision: \"{{ outputs.review.score }}\"}}]\n";
    let run = gated(&format!("{rules}{ROUTES}"));
    assert_eq!(run.outstanding(), ["failed:1:1"]);
    assert_eq!(run.data("fail_step")["error_type"], "gate_error");
}

#[test]
fn what_gate_and_agent_leave_together() {
    let mut run = gated(ROUTES);
    run.ok("review.gate", json!({"decision": "proceed", "score": 100, "concerns": ["a"]}));
    assert_eq!(
        run.output("review"),
        &json!({"score": 1, "decision": "proceed", "concerns": ["a"]})
    );
    assert_eq!(run.state.answers["review"]["score"], 100);
}

fn deterministic(result: Value) -> Run {
    let mut run = Run::start(
        "steps:
  - id: tests
    type: agent_call
    agent: reader
    on_success: wrong
    decision_gate:
      type: deterministic_check
      condition: outputs.tests.passed >= outputs.tests.total * 0.9
      on_success: good
      on_failure: bad
  - {id: good, type: agent_call, agent: reader}
  - {id: bad, type: agent_call, agent: reader}
  - {id: wrong, type: agent_call, agent: reader}
",
    );
    run.ok("tests", result);
    run
}

#[test]
fn a_check_that_cannot_be_made_does_not_hold() {
    for (result, next, problem) in [
        (json!({"passed": 9, "total": 10}), "good:1:1", ""),
        (json!({"passed": 8, "total": 10}), "bad:1:1", ""),
        (json!({"passed": 9}), "bad:1:1", "outputs.tests.total is missing"),
        (json!({"passed": "many", "total": 10}), "bad:1:1", "do not go together"),
        (json!({"passed": 0, "total": 0}), "good:1:1", "compares 0 with 0"),
    ] {
        let run = deterministic(result.clone());
        assert_eq!(run.outstanding(), [next], "{result}");
        let problems = run.data("complete_step")["problems"].to_string();
        assert!(problems.contains(problem), "{result}: {problems}");
        assert_eq!(run.data("complete_step")["decided_by"], "condition");
    }
}

#[test]
fn a_branch_of_its_own() {
    for (number, next) in [(json!(3), "good:1:1"), (json!(2), "bad:1:1"), (json!(null), "bad:1:1")]
    {
        let run = Run::start_with(
            "steps:
  - {id: branch, type: conditional, condition: context.n >= 3, on_true: good, on_false: bad}
  - {id: good, type: agent_call, agent: reader}
  - {id: bad, type: agent_call, agent: reader}
",
            json!({"n": number}),
        );
        assert_eq!(run.outstanding(), [next]);
        assert_eq!(run.output("branch")["result"], json!(next.starts_with("good")));
    }
}
