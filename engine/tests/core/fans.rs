//! Branches side by side: `parallel` and `for_each`.

use serde_json::{Value, json};
use sluice_engine::{
    BranchStatus, Effect, Input, Phase, Refused, Retry, current_step, pending_approval,
    status_response, step_statuses,
};
use sluice_proto::event::{Status, StepStatus};

use crate::run::Run;

/// Three branches, with what is said about their join.
fn three(join: &str) -> String {
    format!(
        "steps:
  - id: fan
    type: parallel
    {join}
    branches:
      a: [{{id: one, type: agent_call, agent: reader, on_success: two}}, {{id: two, type: agent_call, agent: reader}}]
      b: [{{id: one, type: agent_call, agent: writer}}]
      c: [{{id: one, type: agent_call, agent: writer, on_failure: mend}}, {{id: mend, type: agent_call, agent: reader, on_success: branch_failed}}]
    on_success: after
    on_failure: broken
  - {{id: after, type: agent_call, agent: reader, payload: {{all: '{{{{ outputs.fan }}}}', two: \"{{{{ outputs['fan.a.two'].n }}}}\"}}}}
  - {{id: broken, type: agent_call, agent: reader, payload: {{why: '{{{{ outputs.fan.error }}}}'}}, on_success: workflow_failed}}
"
    )
}

fn each(keys: &str, steps: &str) -> String {
    format!(
        "steps:
  - {{id: each, type: for_each, items: '{{{{ context.items }}}}', {keys} on_success: after, steps: {steps}}}
  - {{id: after, type: agent_call, agent: reader, payload: {{items: '{{{{ outputs.each.items }}}}'}}}}
"
    )
}

const CALL: &str = "[{id: do, type: agent_call, agent: writer, payload: {item: '{{ item }}', n: '{{ index + 1 }}'}}]";

fn dropped(run: &Run) -> Vec<&str> {
    let dropped = run.effects.iter().filter_map(|effect| match effect {
        Effect::DropAttempt(wish) => Some(wish.path.as_str()),
        _ => None,
    });
    dropped.collect()
}

#[test]
fn all_branches_begin_at_once_and_all_must_end_well() {
    let mut run = Run::start(&three("join: all"));
    assert_eq!(run.trail(), ["start_workflow fan", "start_branches fan"]);
    assert_eq!(run.outstanding(), ["fan.a.one:1:1", "fan.b.one:1:1", "fan.c.one:1:1"]);
    assert_eq!(run.ok("fan.b.one", json!({"n": 2})), ["complete_step fan.b.one"]);
    assert_eq!(run.data("complete_step")["next_step"], "branch_complete");
    run.ok("fan.c.one", json!({"n": 3}));
    assert_eq!(run.ok("fan.a.one", json!({"n": 1})), ["complete_step fan.a.one"]);
    assert_eq!(run.data("complete_step")["next_step"], "fan.a.two");
    assert_eq!(
        run.ok("fan.a.two", json!({"n": 4})),
        ["complete_step fan.a.two", "complete_step fan"]
    );
    let left = json!({
        "branches": {
            "a": {"status": "succeeded", "output": {"n": 4}},
            "b": {"status": "succeeded", "output": {"n": 2}},
            "c": {"status": "succeeded", "output": {"n": 3}},
        },
        "succeeded": ["a", "b", "c"],
        "failed": [],
    });
    assert_eq!(run.output("fan"), &left);
    assert_eq!(run.draft("after").payload, json!({"all": left, "two": 4}));
    run.ok("after", json!({}));
    assert_eq!(run.ending().0, Status::Completed);
}

#[test]
fn a_failure_that_cannot_be_made_good_stops_the_rest() {
    let mut run = Run::start(&three("on_branch_failure: fail_fast"));
    run.ok("fan.a.one", json!({}));
    assert_eq!(run.fail("fan.b.one", Some(false)), ["fail_step fan.b.one", "fail_step fan"]);
    assert_eq!(dropped(&run), ["fan.a.two", "fan.b.one", "fan.c.one"]);
    assert_eq!(run.outstanding(), ["broken:1:1"]);
    let error = "3 of 3 branches must end well; fan.b.one: it went wrong";
    assert_eq!(run.draft("broken").payload, json!({"why": error}));
    let left = run.output("fan");
    assert_eq!(left["error_type"], "branch_failed");
    assert_eq!(left["branches"]["a"], json!({"status": "stopped"}));
    assert_eq!(left["branches"]["b"]["failed_step"], "fan.b.one");
    assert_eq!(left["failed"], json!(["b"]));
    assert_eq!(run.blame(), (Some("fan"), Some("branch_failed")));
    let statuses = step_statuses(&run.template, &run.state);
    assert_eq!(statuses["fan.b.one"], StepStatus::Failed);
    assert_eq!(statuses["fan.c.one"], StepStatus::Skipped);
    let late = Input::Result {
        path: "fan.c.one".to_owned(),
        visit: 1,
        attempt: 1,
        report: crate::run::success(json!({})),
    };
    assert_eq!(run.input(late), Err(Refused::NotOutstanding));
    run.ok("broken", json!({}));
    assert_eq!(run.ending(), (Status::Failed, json!("workflow_failed")));
}

#[test]
fn collect_lets_the_rest_run_to_its_end() {
    let mut run = Run::start(&three("on_branch_failure: collect"));
    assert_eq!(run.fail("fan.b.one", Some(false)), ["fail_step fan.b.one"]);
    assert_eq!(run.fail("fan.c.one", Some(false)), ["fail_step fan.c.one"]);
    run.ok("fan.a.one", json!({}));
    run.ok("fan.a.two", json!({}));
    let last = run.ok("fan.c.mend", json!({}));
    assert_eq!(last, ["complete_step fan.c.mend", "fail_step fan"]);
    assert_eq!(run.output("fan")["failed"], json!(["b", "c"]));
    assert_eq!(run.output("fan")["branches"]["c"]["error"], "it went wrong", "the first failure");
    assert_eq!(run.output("fan")["branches"]["c"]["output"], json!({}), "of its last step");
}

#[test]
fn any_and_a_number_stop_whoever_is_not_needed() {
    let mut run = Run::start(&three("join: any"));
    run.fail("fan.b.one", Some(false));
    let done = run.ok("fan.c.one", json!({"n": 7}));
    assert_eq!(done, ["complete_step fan.c.one", "complete_step fan"]);
    assert_eq!(dropped(&run), ["fan.a.one", "fan.c.one"]);
    assert_eq!(run.output("fan")["branches"]["a"], json!({"status": "stopped"}));
    assert_eq!(run.state.fans["fan"].branches["a"].status, BranchStatus::Stopped);
    run.ok("after", json!({}));
    assert_eq!(run.ending().0, Status::Completed);
    assert_eq!(run.blame(), (None, None), "a branch that was not needed is nobody's failure");

    let mut run = Run::start(&three("join: 2"));
    run.ok("fan.b.one", json!({}));
    run.fail("fan.a.one", Some(false));
    assert!(run.state.active.contains_key("fan"), "two can still end well");
    run.fail("fan.c.one", Some(false));
    let failed = run.ok("fan.c.mend", json!({}));
    assert_eq!(failed, ["complete_step fan.c.mend", "fail_step fan"], "now they cannot");
}

#[test]
fn retries_and_history_are_those_of_any_step() {
    let mut run = Run::start(&format!(
        "{}error_handling: [{{step: fan.b.one, max_retries: 2}}, {{step: fan.a.two, on_error: one}}]\n",
        three("join: all")
    ));
    assert_eq!(run.fail("fan.b.one", Some(true)), ["fail_step fan.b.one", "retry_step fan.b.one"]);
    assert_eq!(run.attempt("fan.b.one").attempt, 2);
    run.ok("fan.a.one", json!({}));
    run.fail("fan.a.two", Some(false));
    assert_eq!(run.attempt("fan.a.one").visit, 2, "its error target is one of its branch");
    assert_eq!(run.exhaust("fan.b.one"), 2);
    assert_eq!(run.output("fan")["branches"]["b"]["status"], "failed");
}

#[test]
fn outputs_are_those_of_the_branch_first() {
    let mut run = Run::start(
        "steps:
  - {id: one, type: agent_call, agent: reader, on_success: fan}
  - id: fan
    type: parallel
    branches:
      a:
        - {id: one, type: agent_call, agent: reader, payload: {own: '{{ outputs.one.n }}', side: '{{ outputs.two }}'}, on_success: check}
        - {id: check, type: conditional, condition: outputs.one.n == 2, on_true: say, on_false: branch_failed}
        - {id: say, type: agent_call, agent: reader, payload: {own: '{{ outputs.one.n }}', outer: \"{{ outputs['fan.a.one'].n }}\", up: '{{ outputs.zero.n }}'}}
      b: [{id: two, type: agent_call, agent: reader, payload: {up: '{{ outputs.one.n }}'}}]
  - {id: zero, type: terminal}
",
    );
    run.ok("one", json!({"n": 1}));
    assert_eq!(run.draft("fan.a.one").payload, json!({"own": null, "side": null}));
    assert_eq!(run.draft("fan.b.two").payload, json!({"up": 1}));
    run.ok("fan.a.one", json!({"n": 2}));
    assert_eq!(run.draft("fan.a.say").payload, json!({"own": 2, "outer": 2, "up": null}));
}

#[test]
fn items_are_gone_through_in_order_and_as_many_at_a_time_as_may() {
    let mut run = Run::start_with(
        &each("max_concurrent: 2,", CALL),
        json!({"items": ["x", {"y": 1}, null, 4, 5]}),
    );
    assert_eq!(run.outstanding(), ["each.0.do:1:1", "each.1.do:1:1"]);
    assert_eq!(run.draft("each.1.do").payload, json!({"item": {"y": 1}, "n": 2}));
    assert_eq!(
        run.ok("each.1.do", json!({"r": 1})),
        ["complete_step each.1.do", "start_branches each"]
    );
    assert_eq!(run.draft("each.2.do").payload, json!({"item": null, "n": 3}));
    for n in [2, 0, 4, 3] {
        assert!(run.outstanding().len() <= 2);
        run.ok(&format!("each.{n}.do"), json!({"r": n}));
    }
    let results: Vec<Value> = run.output("each")["items"].as_array().unwrap().clone();
    let numbers: Vec<&Value> = results.iter().map(|item| &item["output"]["r"]).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4], "in the order of the items, not of their ends");
    assert_eq!(run.output("each")["succeeded"], json!([0, 1, 2, 3, 4]));
    assert_eq!(run.state.fans["each"].items, None, "nobody reads them any more");
}

#[test]
fn no_items_are_all_of_them_but_not_any() {
    let run = Run::start_with(&each("", CALL), json!({"items": []}));
    assert_eq!(run.trail()[1..], ["start_branches each", "complete_step each"]);
    assert_eq!(run.output("each"), &json!({"items": [], "succeeded": [], "failed": []}));
    for keys in ["join: any,", "join: 1, on_branch_failure: collect,"] {
        let run = Run::start_with(&each(keys, CALL), json!({"items": []}));
        assert_eq!(run.ending().0, Status::Failed);
        assert_eq!(run.output("each")["error"], "1 branches must end well, and there are 0");
    }
}

#[test]
fn items_that_are_no_list_fail_the_step() {
    let many: Vec<u32> = (0..1_001).collect();
    for (items, why) in [
        (json!(null), "'items' is missing, not a list"),
        (json!("a, b"), "'items' is text, not a list"),
        (json!({"a": 1}), "'items' is a mapping, not a list"),
        (json!(many), "'items' has 1001 items, more than 1000"),
    ] {
        let run = Run::start_with(&each("", CALL), json!({"items": items}));
        assert_eq!(run.ending().0, Status::Failed);
        assert_eq!(run.output("each")["error"], why);
        assert_eq!(run.blame(), (Some("each"), Some("items_error")));
    }
}

#[test]
fn a_thousand_items_at_once_are_possible() {
    let items: Vec<u32> = (0..1_000).collect();
    let mut run = Run::start_with(&each("", CALL), json!({"items": items}));
    assert_eq!(run.outstanding().len(), 1_000);
    assert_eq!(run.state.inner_steps_entered, 1_000);
    for n in 0..20 {
        run.ok(&format!("each.{n}.do"), json!({"n": n}));
    }
    let failed = run.fail("each.500.do", Some(false));
    assert_eq!(failed, ["fail_step each.500.do", "fail_step each", "complete_workflow"]);
    assert_eq!(run.ending().0, Status::Failed);
}

#[test]
fn conditions_alone_take_a_thousand_items_to_their_end_in_one_step() {
    let steps = "[{id: even, type: conditional, condition: item == 1, on_true: branch_complete, on_false: branch_failed}]";
    let items: Vec<u32> = (0..1_000).map(|n| n % 2).collect();
    let keys = "max_concurrent: 7, join: 500, on_branch_failure: collect,";
    let run = Run::start_with(&each(keys, steps), json!({"items": items}));
    assert_eq!(run.outstanding(), ["after:1:1"]);
    assert_eq!(run.output("each")["succeeded"].as_array().unwrap().len(), 500);
}

#[test]
fn branches_of_a_run_are_counted() {
    let text = "steps:
  - {id: each, type: for_each, items: '{{ context.items }}', on_branch_failure: collect, steps: [{id: again, type: for_each, items: '{{ context.items }}', steps: [{id: end, type: terminal}]}]}
";
    let items: Vec<u32> = (0..120).collect();
    let run = Run::start_with(text, json!({"items": items}));
    assert_eq!(run.ending().0, Status::Failed);
    let failed = run.output("each")["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 120 - 82, "9,960 branches in all, not more than 10,000");
    let last = failed.last().and_then(Value::as_u64).unwrap();
    let last = &run.output("each")["items"][usize::try_from(last).unwrap()];
    assert!(last["error"].as_str().unwrap().contains("more than 10000"), "{last}");
}

#[test]
fn branches_take_turns_at_a_lock_of_their_run() {
    let mut run = Run::start(
        "steps:
  - id: fan
    type: parallel
    branches:
      a: [{id: one, type: agent_call, agent: reader, resource_lock: x, on_success: two}, {id: two, type: agent_call, agent: reader, resource_lock: x}]
      b: [{id: one, type: agent_call, agent: reader, resource_lock: x}]
",
    );
    assert_eq!(run.outstanding(), ["lock x for fan.a.one", "lock x for fan.b.one"]);
    run.grant("fan.a.one", "x", 1);
    assert_eq!(run.outstanding(), ["fan.a.one:1:1", "lock x for fan.b.one"]);
    run.queue("fan.b.one", "x");
    let shown = status_response(&run.template, &run.state);
    assert_eq!((shown.waiting_for_lock.as_deref(), shown.locks.len()), (Some("x"), 1));
    assert_eq!(
        run.ok("fan.a.one", json!({})),
        ["complete_step fan.a.one"],
        "kept for what comes next"
    );
    assert_eq!(
        run.ok("fan.a.two", json!({})),
        ["complete_step fan.a.two", "release_lock fan.a.one"]
    );
    assert_eq!(run.outstanding(), ["lock x for fan.b.one"]);
    run.grant("fan.b.one", "x", 2);
    run.ok("fan.b.one", json!({}));
    assert_eq!(run.ending().0, Status::Completed);
}

#[test]
fn a_branch_that_is_stopped_leaves_its_locks_and_queues() {
    let mut run = Run::start(
        "steps:
  - id: fan
    type: parallel
    branches:
      a: [{id: one, type: agent_call, agent: writer, resource_lock: x}]
      b: [{id: one, type: agent_call, agent: writer, resource_lock: x}]
      c: [{id: one, type: agent_call, agent: writer}]
",
    );
    run.grant("fan.a.one", "x", 1);
    run.queue("fan.b.one", "x");
    run.fail("fan.c.one", Some(false));
    let released = run.effects.contains(&Effect::ReleaseLock("x".to_owned()));
    let withdrawn = run.effects.iter().any(
        |effect| matches!(effect, Effect::WithdrawLockRequest(wish) if wish.step == "fan.b.one"),
    );
    assert!(released && withdrawn, "{:?}", run.effects);
    assert_eq!(run.ending().0, Status::Failed);
}

#[test]
fn the_lock_of_the_step_is_held_for_all_its_branches() {
    let mut run = Run::start(
        "steps:
  - id: fan
    type: parallel
    resource_lock: x
    branches:
      a: [{id: one, type: agent_call, agent: reader, resource_lock: x}]
      b: [{id: one, type: agent_call, agent: reader}]
",
    );
    assert_eq!(run.outstanding(), ["lock x for fan"]);
    run.grant("fan", "x", 1);
    assert_eq!(run.outstanding(), ["fan.a.one:1:1", "fan.b.one:1:1"]);
    run.ok("fan.a.one", json!({}));
    assert!(run.state.locks.contains_key("x"));
    run.ok("fan.b.one", json!({}));
    assert!(run.state.locks.is_empty());
}

const PEOPLE: &str = "steps:
  - id: fan
    type: parallel
    branches:
      z: [{id: ask, type: hitl_approval, on_approved: branch_complete, on_rejected: branch_failed}]
      a: [{id: work, type: agent_call, agent: reader, on_success: ask}, {id: ask, type: hitl_approval, on_approved: branch_complete}]
";

#[test]
fn several_people_may_be_waited_for_and_a_run_is_paused_when_only_they_can_move_it() {
    let mut run = Run::start(PEOPLE);
    let pending = |run: &Run| pending_approval(&run.template, &run.state).map(|p| p.step_id);
    assert_eq!(run.state.status, Status::Running, "there is work to do");
    assert_eq!(pending(&run).as_deref(), Some("fan.z.ask"), "and somebody to ask");
    assert_eq!(current_step(&run.template, &run.state).as_deref(), Some("fan.z.ask"));
    run.ok("fan.a.work", json!({}));
    assert_eq!(run.state.status, Status::Paused);
    run.approve("ada");
    assert_eq!(run.state.status, Status::Paused, "of two, the first in the file was decided");
    assert_eq!(pending(&run).as_deref(), Some("fan.a.ask"));
    run.approve("ada");
    run.deliver_messages();
    assert_eq!(run.ending().0, Status::Completed);
}

#[test]
fn a_rejection_is_the_failure_of_its_branch() {
    let mut run = Run::start(PEOPLE);
    let trail = run.reject("bob");
    assert_eq!(trail[..3], ["reject_gate fan.z.ask", "resume_workflow fan.z.ask", "fail_step fan"]);
    assert_eq!(run.output("fan")["branches"]["z"]["error"], "rejected by bob: so be it");
    assert_eq!(run.ending().0, Status::Failed);
    assert!(run.state.approvals.iter().all(|approval| approval.status != "pending"));
}

#[test]
fn a_second_visit_starts_over() {
    let text = "steps:
  - {id: each, type: for_each, items: '{{ outputs.ask.items + context.items }}', on_success: ask, steps: [{id: do, type: agent_call, agent: reader, on_success: see}, {id: see, type: agent_call, agent: reader, payload: {seen: '{{ outputs.do.n }}'}}]}
  - {id: ask, type: agent_call, agent: reader, decision_gate: {type: deterministic_check, condition: outputs.ask.again == true, on_true: each, on_false: workflow_complete}}
";
    let mut run = Run::start_with(text, json!({"items": [1, 2]}));
    for n in 0..2 {
        run.ok(&format!("each.{n}.do"), json!({"n": n}));
        run.ok(&format!("each.{n}.see"), json!({}));
    }
    let ids =
        |run: &Run| step_statuses(&run.template, &run.state).keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&run), ["each", "each.0.do", "each.0.see", "each.1.do", "each.1.see", "ask"]);
    run.ok("ask", json!({"again": true, "items": [0]}));
    assert_eq!(run.outstanding(), ["each.0.do:2:1", "each.1.do:2:1", "each.2.do:1:1"]);
    assert!(!run.state.outputs.contains_key("each.1.do"), "that was of another item");
    let statuses = step_statuses(&run.template, &run.state);
    assert_eq!(statuses["each.1.see"], StepStatus::Pending);
    assert_eq!(statuses.len(), 8);
    run.ok("each.2.do", json!({"n": 9}));
    assert_eq!(run.draft("each.2.see").payload, json!({"seen": 9}));
}

#[test]
fn loops_in_a_branch_end_like_any_other() {
    let text = "steps:
  - id: fan
    type: parallel
    branches:
      a: [{id: one, type: agent_call, agent: reader, on_success: one}]
error_recovery: {max_workflow_retries: 3}
";
    let mut run = Run::start(text);
    for _ in 0..3 {
        run.ok("fan.a.one", json!({}));
    }
    let end = run.ok("fan.a.one", json!({}));
    assert_eq!(end[..3], ["complete_step fan.a.one", "fail_step fan.a.one", "fail_step fan"]);
    assert_eq!(run.output("fan")["branches"]["a"]["error_type"], "loop_limit");
}

#[test]
fn branches_have_branches_and_waits_and_gates() {
    let mut run = Run::start_with(
        "steps:
  - id: each
    type: for_each
    items: '{{ context.items }}'
    steps:
      - {id: soak, type: wait, for: 5s, on_success: both}
      - id: both
        type: parallel
        join: any
        branches:
          x: [{id: q, type: agent_call, agent: reader, decision_gate: {type: llm_assessment, prompt: 'Is {{ item }} {{ outputs.q.n }}?', on_yes: branch_complete}}]
          y: [{id: w, type: wait, for: 1h}]
",
        json!({"items": ["it"]}),
    );
    run.wake("each.0.soak");
    assert_eq!(run.attempt("each.0.both.x.q").visit, 1);
    run.ok("each.0.both.x.q", json!({"n": 3}));
    assert_eq!(run.draft("each.0.both.x.q.gate").payload["prompt"], "Is it 3?");
    let end = run.ok("each.0.both.x.q.gate", json!({"decision": "yes"}));
    assert_eq!(
        end[..3],
        ["complete_step each.0.both.x.q", "complete_step each.0.both", "complete_step each"]
    );
    assert!(run.effects.iter().any(|effect| matches!(effect, Effect::StopTimer(_))));
    assert_eq!(run.ending().0, Status::Completed);
}

#[test]
fn a_failed_run_goes_on_from_the_step_and_not_from_within() {
    let mut run = Run::start(&three("join: all").replace("    on_failure: broken\n", ""));
    run.ok("fan.a.one", json!({}));
    run.fail("fan.b.one", Some(false));
    assert_eq!(run.state.status, Status::Failed);
    let from = |step: &str| {
        Input::Retry(Retry {
            step: step.to_owned(),
            max_retries: 3,
            requested_by: "ada".to_owned(),
        })
    };
    assert_eq!(run.input(from("fan.b.one")), Err(Refused::InnerStep("fan.b.one".to_owned())));
    run.input(from("fan")).unwrap();
    assert_eq!(run.state.active["fan"].phase, Phase::Branches);
    assert_eq!(run.outstanding(), ["fan.a.one:2:1", "fan.b.one:2:1", "fan.c.one:2:1"]);
    assert!(!run.state.outputs.contains_key("fan.a.one"));
}

#[test]
fn a_cancellation_ends_every_branch() {
    let mut run = Run::start(&three("join: all"));
    run.ok("fan.a.one", json!({}));
    run.input(Input::Cancel(sluice_engine::Cancel::default())).unwrap();
    assert_eq!(run.outstanding(), [""; 0]);
    assert_eq!(run.state.status, Status::Cancelled);
    assert!(run.state.fans["fan"].branches.values().all(|b| b.status == BranchStatus::Stopped));
}
