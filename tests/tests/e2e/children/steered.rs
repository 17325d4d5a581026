//! Parents and children that somebody steers.

use std::time::{Duration, Instant};

use serde_json::json;
use sluice_tests::{PATIENCE, World, run};

use super::{INNER, agents, child, world};

#[test]
fn cancelling_a_parent_cancels_its_children_and_says_so() {
    run(async {
        let agents = agents().await;
        let world = world(&agents).await;
        agents.hold("apply");
        let id = world.execute("outer", json!({"stage": "blue"})).await;
        agents.called("apply", 1).await;
        let child = child(&world, &id, 0).await;
        agents.hold("undo");
        let path = format!("/workflow/{id}?reason=wrong%20branch&cancelled_by=ops@example.com");
        let (status, answer) = world.delete(&path).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["status"], "cancelled");
        assert_eq!(
            answer["cleanup"],
            json!({
                "locks_released": 1,
                "linear_issues_closed": 0,
                "agents_notified": 0,
                "child_workflows_cancelled": 1,
                "approvals_cancelled": 0,
                "errors": [],
            })
        );
        // The child undoes what it did before it ends; its parent does not wait for that.
        agents.called("undo", 1).await;
        let until = Instant::now() + PATIENCE;
        while agents.abandoned() != ["apply"] {
            assert!(Instant::now() < until, "the child's agent was not told to stop");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(world.status(&id).await["child_workflows"][0]["status"], "running");
        agents.release("undo");
        agents.release("apply");
        let state = world.wait_for(&child, "cancelled").await;
        let reason = format!("its parent {id} was cancelled: wrong branch");
        assert_eq!(
            (&state["cancellation_reason"], &state["cancelled_by"]),
            (&json!(reason), &json!("ops@example.com"))
        );
        // Told to the parent, which has ended.
        let actions = world.actions(&id).await;
        assert_eq!(actions.last().unwrap(), "child_workflow_complete:ship");
        let state = world.status(&id).await;
        assert_eq!(
            (&state["status"], &state["child_workflows"][0]["status"]),
            (&json!("cancelled"), &json!("cancelled"))
        );
        world.stop().await;
    });
}

#[test]
fn force_reaches_the_children() {
    run(async {
        let agents = agents().await;
        let world = world(&agents).await;
        let id = world.execute("outer", json!({"stage": "guarded"})).await;
        let child = child(&world, &id, 0).await;
        world.wait_for(&child, "paused").await;
        let (status, answer) = world.delete(&format!("/workflow/{id}?force=true")).await;
        assert_eq!(
            (status, &answer["cleanup"]["child_workflows_cancelled"]),
            (200, &json!(1)),
            "{answer}"
        );
        let state = world.wait_for(&child, "cancelled").await;
        assert_eq!(
            state["step_statuses"]["undo"], "skipped",
            "at once, without what the template does"
        );
        world.stop().await;
    });
}

const FAN: &str = r#"
name: Fan
version: "1.0"
description: Two children side by side; the first that ends well is enough.
steps:
  - id: race
    type: for_each
    items: [blue, guarded]
    join: any
    steps: [{id: ship, type: workflow, template: inner, context: {stage: "{{ item }}", plan: none}}]
"#;

#[test]
fn a_child_of_a_branch_that_is_not_needed_is_cancelled() {
    run(async {
        let agents = agents().await;
        let yaml = agents.yaml(&[("helper", false), ("worker", true)]);
        let world = World::builder()
            .template("fan", FAN)
            .template("inner", INNER)
            .agents(&yaml)
            .coordinators(2)
            .start()
            .await;
        let id = world.execute("fan", json!({})).await;
        let state = world.wait_for(&id, "completed").await;
        let items = &state["outputs"]["race"]["items"];
        assert_eq!(
            (&items[0]["status"], &items[1]["status"]),
            (&json!("succeeded"), &json!("stopped")),
            "{state:#}"
        );
        let other = child(&world, &id, 1).await;
        let state = world.wait_for(&other, "cancelled").await;
        let reason = format!("its parent {id} waits for it no longer");
        assert_eq!(state["cancellation_reason"], json!(reason));
        world.stop().await;
    });
}

#[test]
fn a_child_that_wants_what_its_parent_holds_is_refused() {
    run(async {
        let agents = agents().await;
        let inner = INNER.replacen(
            "agent: worker,",
            "agent: worker, resource_lock: \"stage:{{ context.stage }}\",",
            1,
        );
        let world = World::builder()
            .template("outer", super::OUTER)
            .template("inner", &inner)
            .agents(&agents.yaml(&[("helper", false), ("worker", true)]))
            .start()
            .await;
        let id = world.execute("outer", json!({"stage": "blue"})).await;
        let state = world.wait_for(&id, "failed").await;
        let message = state["error_message"].as_str().unwrap();
        assert!(message.contains("these runs wait for each other"), "{message}");
        let child = child(&world, &id, 0).await;
        assert_eq!(world.status(&child).await["failure_reason"], "lock_deadlock");
        world.stop().await;
    });
}
