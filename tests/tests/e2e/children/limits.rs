//! Children that cannot be started.

use serde_json::json;
use sluice_tests::{World, run};

use super::{INNER, agents};

fn calls(name: &str, template: &str) -> String {
    format!(
        "name: {name}
version: '1'
description: Starts another.
steps:
  - {{id: ship, type: workflow, template: {template}, context: {{stage: blue, plan: none}}}}
"
    )
}

#[test]
fn who_would_start_itself_again_or_nothing_fails_by_name() {
    run(async {
        let agents = agents().await;
        let world = World::builder()
            .template("one", &calls("One", "two"))
            .template("two", &calls("Two", "one"))
            .template("lost", &calls("Lost", "nowhere"))
            .template("torn", &calls("Torn", "broken"))
            .template("broken", "name: Broken\nsteps: []\n")
            .agents(&agents.yaml(&[("worker", true)]))
            .start()
            .await;
        for (template, reason, says) in [
            ("one", "child_failed", "one.workflow.yaml → two.workflow.yaml → one.workflow.yaml"),
            ("lost", "template_not_found", "no template 'nowhere.workflow.yaml'"),
            ("torn", "invalid_template", "broken.workflow.yaml"),
        ] {
            let id = world.execute(template, json!({})).await;
            let state = world.wait_for(&id, "failed").await;
            assert_eq!(state["failure_reason"], reason, "{state:#}");
            let message = state["error_message"].as_str().unwrap();
            assert!(message.contains(says), "{message}");
            let runs: Vec<(String,)> =
                sqlx::query_as("select status from runs").fetch_all(&world.pool).await.unwrap();
            assert!(runs.iter().all(|(status,)| status == "failed"), "{runs:?}");
        }
        world.stop().await;
    });
}

#[test]
fn twenty_runs_are_above_each_other_and_no_more() {
    run(async {
        let agents = agents().await;
        let mut builder = World::builder().agents(&agents.yaml(&[("worker", true)]));
        for n in 1..=21 {
            builder = builder
                .template(&format!("t{n}"), &calls(&format!("T{n}"), &format!("t{}", n + 1)));
        }
        let world = builder.template("t22", INNER).coordinators(2).start().await;
        // The third is the first of twenty that end well.
        let id = world.execute("t3", json!({})).await;
        let state = world.wait_for(&id, "completed").await;
        let mut output = &state["outputs"]["ship"];
        for _ in 4..=21 {
            output = &output["ship"];
        }
        assert_eq!(output["apply"]["by"], "apply", "{state:#}");
        let id = world.execute("t2", json!({})).await;
        let state = world.wait_for(&id, "failed").await;
        let message = state["error_message"].as_str().unwrap();
        assert!(message.contains("there are 20 runs above each other already"), "{message}");
        world.stop().await;
    });
}

#[test]
fn a_run_that_has_the_id_of_a_child_is_not_taken_for_it() {
    run(async {
        let agents = agents().await;
        let world = super::world(&agents).await;
        // Of run, step and visit, as somebody might find out who knows how ids are made.
        let taken = "inner-ba70f9085507f89c";
        agents.hold("plan");
        for (id, template) in [("here", "outer"), (taken, "inner")] {
            let body = json!({
                "template_name": template,
                "context": {"stage": "guarded", "plan": "none"},
                "workflow_id": id,
            });
            assert_eq!(world.post("/workflow/execute", &body).await.0, 200);
        }
        world.wait_for(taken, "paused").await;
        agents.release("plan");
        let state = world.wait_for("here", "failed").await;
        assert_eq!(state["child_workflows"][0]["child_workflow_id"], taken);
        assert_eq!(state["failure_reason"], "child_id_taken", "{state:#}");
        assert_eq!(world.status(taken).await["status"], "paused", "left alone");
        world.delete(&format!("/workflow/{taken}?force=true")).await;
        world.stop().await;
    });
}
