use super::*;

fn edges(text: &str) -> Vec<String> {
    let shown = |edge: &Edge| {
        let Edge { step, label, target, cause } = edge;
        format!("{step} {label} {} {cause:?}", target.name())
    };
    loaded(text).edges().iter().map(shown).collect()
}

#[test]
fn every_way_out_of_a_step_has_a_name() {
    let text = with_steps(
        "  - id: review
    type: agent_call
    agent: a
    decision_gate: {type: llm_assessment, prompt: p, on_yes: ask, on_no: mend}
  - id: ask
    type: hitl_approval
    lock_wait: 1d
    resource_lock: x
    on_approved: is_large
    on_auto_approved: done
    on_rejected: workflow_failed
  - {id: is_large, type: conditional, condition: context.size > 1, on_true: deploy, on_false: done}
  - id: deploy
    type: agent_call
    agent: b
    on_failure: done
    decision_gate: {type: deterministic_check, condition: outputs.deploy.ok, on_success: tell, on_failure: mend}
  - {id: mend, type: agent_call, agent: a, on_success: review}
  - {id: tell, type: notification, channels: [log]}
  - {id: done, type: terminal}
error_handling:
  - {step: review, on_error: tell}
error_recovery: {max_workflow_retries: 1}
notifications:
  - {trigger: notify_failure, channels: [log]}
",
    );
    let expected = "\
review on_yes ask Done
review on_no mend Done
review gate_error tell Failed
review on_error tell Failed
ask on_approved is_large Done
ask on_rejected workflow_failed Done
ask on_auto_approved done Done
ask default_failure notify_failure Failed
is_large on_true deploy Done
is_large on_false done Done
deploy on_true tell Done
deploy on_false mend Done
deploy on_failure done Failed
mend on_success review Done
mend default_failure notify_failure Failed
tell on_complete workflow_complete Done
done end workflow_complete Done
review loop_limit tell Failed";
    assert_eq!(edges(&text).join("\n"), expected);
    assert_eq!(loaded(&text).step("ask").unwrap().lock_wait_ms, Some(86_400_000));
}

#[test]
fn a_pause_for_changes_has_two_ways_out() {
    let text = with_steps(
        "  - id: review
    type: agent_call
    agent: a
    decision_gate: {type: llm_assessment, prompt: p, on_yes: workflow_complete, on_no: tell}
  - {id: tell, type: notification, channels: [log], on_complete: workflow_paused}
error_recovery: {max_workflow_retries: 1}
",
    );
    let edges = edges(&text);
    let expected = [
        "tell on_complete workflow_paused Done",
        "review on_resumed review Resumed",
        "review on_given_up workflow_failed Resumed",
        "review loop_limit workflow_failed Failed",
    ];
    assert_eq!(edges[edges.len() - 4..], expected);
}
