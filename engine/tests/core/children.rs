//! Steps that start runs and wait for their ends.

use indexmap::IndexMap;
use serde_json::{Value, json};
use sluice_engine::{ChildEnd, Effect, Input, Past, Refused, current_step, status_response};
use sluice_proto::event::{Status, StepStatus};
use sluice_proto::ids::WorkflowId;

use crate::run::Run;

const STEPS: &str = "steps:
  - {id: plan, type: agent_call, agent: reader, on_success: ship}
  - {id: ship, type: workflow, template: deploy, context: {stage: '{{ context.stage }}', build: '{{ outputs.plan.n }}'}, on_success: after, on_failure: undo}
  - {id: after, type: agent_call, agent: reader, payload: {url: '{{ outputs.ship.apply.url }}'}}
  - {id: undo, type: agent_call, agent: writer, payload: {why: '{{ outputs.ship.error }}', left: '{{ outputs.ship.outputs.apply.url }}', how: '{{ outputs.ship.workflow_status }}'}, on_success: workflow_failed}
";

fn at_ship() -> Run {
    let mut run = Run::start_with(STEPS, json!({"stage": "blue"}));
    run.ok("plan", json!({"n": 7}));
    run
}

fn end(status: Status) -> ChildEnd {
    ChildEnd {
        status,
        outputs: IndexMap::from_iter([("apply".to_owned(), json!({"url": "u"}))]),
        error_type: format!("child_{}", status.as_str()),
        error: "it came to no good".to_owned(),
    }
}

#[test]
fn the_outputs_of_a_child_are_the_output_of_its_step() {
    let mut run = at_ship();
    assert_eq!(run.trail()[1..], ["complete_step plan", "start_child_workflow ship"]);
    assert_eq!(run.data("start_child_workflow")["template_name"], "deploy.workflow.yaml");
    assert_eq!(run.child_context("ship"), Ok(json!({"stage": "blue", "build": 7})));
    assert_eq!(run.outstanding(), ["child of ship:1"]);
    let shown = status_response(&run.template, &run.state);
    assert_eq!(shown.run.status, Status::Running);
    assert_eq!(shown.run.step_statuses["ship"], StepStatus::Running);
    let child = &shown.child_workflows[0];
    assert_eq!(child.child_workflow_id, run.child("ship"));
    assert!(child.child_workflow_id.as_str().starts_with("deploy-"), "{child:?}");
    assert_eq!((child.parent_step_id.as_deref(), child.status), (Some("ship"), Status::Running));
    let trail = run.child_ends("ship", end(Status::Completed));
    assert_eq!(trail, ["child_workflow_complete ship", "complete_step ship"]);
    assert_eq!(run.output("ship"), &json!({"apply": {"url": "u"}}));
    assert_eq!(run.draft("after").payload, json!({"url": "u"}));
    let shown = status_response(&run.template, &run.state);
    assert_eq!(shown.child_workflows[0].status, Status::Completed);
    assert!(shown.child_workflows[0].completed_at.is_some());
    run.ok("after", json!({}));
    assert_eq!(run.ending().0, Status::Completed);
}

#[test]
fn every_other_end_is_a_failure_of_the_step() {
    for status in [Status::Failed, Status::RolledBack, Status::Cancelled] {
        let mut run = at_ship();
        let trail = run.child_ends("ship", end(status));
        assert_eq!(trail, ["child_workflow_complete ship", "fail_step ship"]);
        let payload = json!({"why": "it came to no good", "left": "u", "how": status.as_str()});
        assert_eq!(run.draft("undo").payload, payload);
        let reason = format!("child_{}", status.as_str());
        assert_eq!(run.blame(), (Some("ship"), Some(reason.as_str())));
        run.ok("undo", json!({}));
        assert_eq!(run.ending().0, Status::Failed);
    }
    let mut run = at_ship();
    let refused = ChildEnd::refused("workflow_cycle", "round and round".to_owned());
    run.child_ends("ship", refused);
    assert_eq!(run.blame(), (Some("ship"), Some("workflow_cycle")));
}

#[test]
fn an_end_counts_once_and_only_for_whoever_waits() {
    let mut run = at_ship();
    let child = run.child("ship");
    let told = |child: &WorkflowId, status| Input::ChildEnded {
        child: child.clone(),
        end: Box::new(end(status)),
    };
    let other = WorkflowId::parse("another").unwrap();
    assert_eq!(run.input(told(&other, Status::Completed)), Err(Refused::NotWaitingForChild));
    run.input(told(&child, Status::Failed)).unwrap();
    assert_eq!(run.input(told(&child, Status::Failed)), Err(Refused::NotWaitingForChild));
    // A person has the child go on, and this time it ends well: that is recorded, and changes nothing.
    let trail = run.input(told(&child, Status::Completed)).unwrap();
    assert_eq!(trail, ["child_workflow_complete ship"]);
    assert_eq!(run.outstanding(), ["undo:1:1"]);
    assert_eq!(run.state.children[0].status, Status::Completed);
}

#[test]
fn a_retry_starts_another_child_and_a_repetition_does_not() {
    let mut run = at_ship();
    let first = run.child("ship");
    assert_eq!(at_ship().child("ship"), first, "the id follows from what is recorded");
    run.child_ends("ship", end(Status::Failed));
    run.ok("undo", json!({}));
    run.retry_from("ship", 3).unwrap();
    assert_eq!(run.outstanding(), ["child of ship:2"]);
    assert_ne!(run.child("ship"), first);
    run.child_ends("ship", end(Status::Completed));
    run.ok("after", json!({}));
    assert_eq!(run.ending().0, Status::Completed);
    let told: Vec<Status> = run.state.children.iter().map(|child| child.status).collect();
    assert_eq!(told, [Status::Failed, Status::Completed]);
    let past = Past::after(run.state.workflow_id.clone(), &run.events).view(None);
    assert_eq!(past["child_workflows"][0]["status"], "failed");
    assert_eq!(
        past["child_workflows"][1]["child_workflow_id"],
        json!(run.state.children[1].workflow_id)
    );
    assert_eq!(past["child_workflows"][1]["completed_at"], json!(run.now));
    assert!(!past.contains_key("children"));
}

#[test]
fn whoever_waits_no_longer_leaves_the_child() {
    let mut run = at_ship();
    let child = run.child("ship");
    run.cancel(false).unwrap();
    let left = |run: &Run| {
        let mut effects = run.effects.iter();
        effects.any(|e| matches!(e, Effect::LeaveChild(wish) if wish.workflow_id == child))
    };
    assert!(left(&run), "{:?}", run.effects);
    assert_eq!(run.ending().0, Status::Cancelled);
    // Its end is still told, and changes nothing but the list.
    let end = Box::new(end(Status::Cancelled));
    let trail = run.input(Input::ChildEnded { child: child.clone(), end }).unwrap();
    assert_eq!(trail, ["child_workflow_complete ship"]);
    assert_eq!(run.state.status, Status::Cancelled);
}

#[test]
fn a_run_that_is_held_up_hears_of_an_end_and_waits() {
    let mut run = at_ship();
    run.suspend().unwrap();
    assert_eq!(run.outstanding(), ["child of ship:1"], "the child goes on");
    run.child_ends("ship", end(Status::Completed));
    assert!(run.outstanding().is_empty());
    run.go_on().unwrap();
    assert_eq!(run.outstanding(), ["after:1:1"]);
}

#[test]
fn children_of_branches() {
    let text = "steps:
  - {id: each, type: for_each, items: '{{ context.stages }}', max_concurrent: 2, resource_lock: all, steps: [{id: ship, type: workflow, template: deploy, context: {stage: '{{ item }}'}}]}
";
    let mut run = Run::start_with(text, json!({"stages": ["a", "b", "c"]}));
    run.grant("each", "all", 1);
    assert_eq!(run.outstanding(), ["child of each.0.ship:1", "child of each.1.ship:1"]);
    assert_eq!(run.child_context("each.1.ship"), Ok(json!({"stage": "b"})));
    assert_eq!(current_step(&run.template, &run.state).as_deref(), Some("each.0.ship"));
    run.child_ends("each.1.ship", end(Status::Completed));
    assert_eq!(run.child_context("each.2.ship"), Ok(json!({"stage": "c"})));
    assert_eq!(
        run.child_ends("each.0.ship", end(Status::Failed)),
        [
            "child_workflow_complete each.0.ship",
            "fail_step each.0.ship",
            "fail_step each",
            "release_lock each",
            "complete_workflow",
        ]
    );
    let left = run.effects.iter().filter(|effect| matches!(effect, Effect::LeaveChild(_)));
    assert_eq!(left.count(), 2, "the one that ended and the one that is not needed");
}

#[test]
fn runs_in_its_name_are_known_and_not_waited_for() {
    let mut run = at_ship();
    let child = WorkflowId::parse("hotfix-1").unwrap();
    let adopt = |child: &WorkflowId| Input::ChildAdopted {
        child: child.clone(),
        template_name: "hotfix.workflow.yaml".to_owned(),
    };
    assert_eq!(run.input(adopt(&child)).unwrap(), ["start_child_workflow"]);
    assert_eq!(run.outstanding(), ["child of ship:1"]);
    let told = Input::ChildEnded { child, end: Box::new(end(Status::Failed)) };
    assert_eq!(run.input(told).unwrap(), ["child_workflow_complete"]);
    run.child_ends("ship", end(Status::Completed));
    run.ok("after", json!({}));
    let late = WorkflowId::parse("hotfix-2").unwrap();
    assert_eq!(run.input(adopt(&late)).unwrap(), ["start_child_workflow"], "it has ended well");
    let mut run = at_ship();
    run.cancel(false).unwrap();
    assert!(matches!(run.input(adopt(&late)), Err(Refused::NoParent(_))));
}

#[test]
fn a_context_that_cannot_be_stored_is_named() {
    let text = "steps:
  - {id: ship, type: workflow, template: deploy, context: {big: 9007199254740993, small: 1.0}}
";
    let run = Run::start(text);
    let error = run.child_context("ship").unwrap_err();
    assert!(error.starts_with("context.big"), "{error}");
    let run = Run::start(&text.replace("big: 9007199254740993, ", ""));
    assert_eq!(run.child_context("ship"), Ok(json!({"small": 1})));
    assert_eq!(run.child_context("ship").unwrap()["small"].to_string(), Value::from(1).to_string());
}
