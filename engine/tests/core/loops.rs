//! Nothing goes round for ever.

use serde_json::json;
use sluice_proto::event::Status;

use crate::run::Run;

fn looping(more: &str) -> Run {
    Run::start(&format!(
        "steps:
  - {{id: write, type: agent_call, agent: reader, on_success: review}}
  - id: review
    type: agent_call
    agent: reader
    decision_gate: {{type: llm_assessment, prompt: Well?, on_approve: workflow_complete, on_revise: write}}
  - {{id: spare, type: agent_call, agent: reader, on_success: workflow_complete}}
{more}"
    ))
}

/// Revises until the loop is over; says how often the first step was entered.
fn revise(run: &mut Run) -> u32 {
    while !run.state.status.is_terminal() && run.state.active.contains_key("write") {
        run.ok("write", json!({}));
        run.ok("review", json!({}));
        run.ok("review.gate", json!({"decision": "revise"}));
    }
    run.state.steps["write"].visits
}

#[test]
fn a_loop_has_a_budget() {
    for (recovery, visits) in [
        ("error_recovery: {max_workflow_retries: 2}\n", 4),
        ("error_recovery: {max_workflow_retries: 0}\n", 12),
        ("", 12),
    ] {
        let mut run = looping(recovery);
        // The visit beyond the budget is entered, and fails before anything is done.
        assert_eq!(revise(&mut run), visits, "{recovery}");
        assert_eq!(run.ending(), (Status::Failed, json!("workflow_failed")));
        assert_eq!(run.blame(), (Some("write"), Some("loop_limit")));
        assert_eq!(run.data("fail_step")["error_type"], "loop_limit");
    }
}

#[test]
fn the_end_of_a_loop_takes_the_route_of_a_failure() {
    let mut run = looping(
        "error_recovery: {max_workflow_retries: 1}
error_handling: [{step: write, on_error: spare}]
",
    );
    revise(&mut run);
    assert_eq!(run.outstanding(), ["spare:1:1"]);
    run.ok("spare", json!({}));
    assert_eq!(run.state.status, Status::Completed);
}

#[test]
fn a_failure_route_that_is_the_loop_itself_is_not_taken() {
    for on_error in ["write", "review"] {
        let mut run = looping(&format!(
            "error_recovery: {{max_workflow_retries: 1}}
error_handling: [{{step: write, on_error: {on_error}}}]
"
        ));
        for _ in 0..200 {
            let Some(first) = run.outstanding().first().map(|name| (*name).to_owned()) else {
                break;
            };
            let path = first.split(':').next().unwrap();
            run.ok(path, json!({"decision": "revise"}));
        }
        assert_eq!(run.state.status, Status::Failed, "{on_error}");
    }
}

#[test]
fn no_run_enters_more_than_a_hundred_steps() {
    let steps: String = (0..30)
        .map(|n| {
            format!(
                "  - {{id: s{n}, type: agent_call, agent: reader, on_success: s{}}}\n",
                (n + 1) % 30
            )
        })
        .collect();
    let mut run = Run::start(&format!("steps:\n{steps}"));
    let mut done = 0;
    while let Some(step) = run.state.active.keys().next().cloned() {
        run.ok(&step, json!({}));
        done += 1;
    }
    assert_eq!((done, run.state.steps_entered), (100, 101));
    assert_eq!(run.blame().1, Some("loop_limit"));
}
