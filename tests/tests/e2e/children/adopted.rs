//! Runs that are started in the name of another.

use serde_json::{Value, json};
use sluice_tests::{PATIENCE, World, run};

use super::{agents, child, world};

async fn execute(world: &World, template: &str, parent: &str) -> (u16, Value) {
    let body = json!({
        "template_name": template,
        "context": {"stage": "guarded", "plan": "none"},
        "parent_workflow_id": parent,
    });
    world.post("/workflow/execute", &body).await
}

#[test]
fn a_run_can_be_started_in_the_name_of_another() {
    run(async {
        let agents = agents().await;
        let world = world(&agents).await;
        agents.hold("plan");
        let id = world.execute("outer", json!({"stage": "blue"})).await;
        agents.called("plan", 1).await;
        let (status, answer) = execute(&world, "inner", &id).await;
        assert_eq!(status, 200, "{answer}");
        let first = answer["workflow_id"].as_str().unwrap().to_owned();
        let state = world.wait_for(&first, "paused").await;
        assert_eq!(state["parent_workflow_id"], json!(id));
        assert_eq!(child(&world, &id, 0).await, first);
        let listed = world.status(&id).await["child_workflows"][0].clone();
        assert_eq!(
            (&listed["parent_step_id"], &listed["status"]),
            (&json!(null), &json!("running"))
        );
        // The same as a command, which is one however often it comes.
        let subject = world.bus.subjects().command("workflow.execute");
        let body = json!({
            "template_name": "inner",
            "context": {"stage": "guarded", "plan": "none"},
            "parent_workflow_id": id,
            "workflow_id": "second-child",
            "request_id": "once",
        });
        for _ in 0..2 {
            world.bus.publish(subject.clone(), body.to_string()).await.unwrap();
        }
        assert_eq!(child(&world, &id, 1).await, "second-child");
        world.wait_for("second-child", "paused").await;
        // Nobody waits for them: the parent goes its own way, and hears of their ends.
        agents.release("plan");
        world.wait_for(&id, "completed").await;
        let answer = world.resume(&first, json!({"approval_decision": "rejected"})).await;
        assert_eq!(answer.0, 200);
        world.wait_for(&first, "failed").await;
        let state = world.status(&id).await;
        let told: Vec<&Value> =
            state["child_workflows"].as_array().unwrap().iter().map(|c| &c["status"]).collect();
        assert_eq!(told, ["failed", "running", "completed"]);
        assert_eq!(state["status"], "completed");
        world.delete("/workflow/second-child?force=true").await;
        world.wait_for("second-child", "cancelled").await;
        world.stop().await;
    });
}

#[test]
fn they_are_cancelled_with_it_and_a_cancelled_run_gets_no_more() {
    run(async {
        let agents = agents().await;
        let world = world(&agents).await;
        let id = world.execute("outer", json!({"stage": "guarded"})).await;
        let own = child(&world, &id, 0).await;
        world.wait_for(&own, "paused").await;
        let (_, answer) = execute(&world, "inner", &id).await;
        let adopted = answer["workflow_id"].as_str().unwrap().to_owned();
        world.wait_for(&adopted, "paused").await;
        let (_, answer) = execute(&world, "inner", &adopted).await;
        let grandchild = answer["workflow_id"].as_str().unwrap().to_owned();
        world.wait_for(&grandchild, "paused").await;
        let (status, answer) = world.delete(&format!("/workflow/{id}")).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["cleanup"]["child_workflows_cancelled"], 3, "children of children too");
        for run in [&own, &adopted, &grandchild] {
            world.wait_for(run, "cancelled").await;
        }
        let (status, answer) = execute(&world, "inner", &id).await;
        assert_eq!((status, &answer["code"]), (400, &json!("not_a_parent")), "{answer}");
        world.stop().await;
    });
}

#[test]
fn a_chain_has_twenty_links_and_every_parent_is_known() {
    run(async {
        let agents = agents().await;
        let world = world(&agents).await;
        let (status, answer) = execute(&world, "inner", "nobody-0123456789abcdef").await;
        assert_eq!((status, &answer["code"]), (404, &json!("workflow_not_found")), "{answer}");
        let (status, answer) = execute(&world, "inner", "no id").await;
        assert_eq!((status, &answer["errors"][0]["field"]), (422, &json!("parent_workflow_id")));
        let mut last = world.execute("inner", json!({"stage": "blue", "plan": "none"})).await;
        for _ in 2..=20 {
            let (status, answer) = execute(&world, "inner", &last).await;
            assert_eq!(status, 200, "{answer}");
            last = answer["workflow_id"].as_str().unwrap().to_owned();
        }
        let count = || sqlx::query_scalar::<_, i64>("select count(*) from runs");
        let before = count().fetch_one(&world.pool).await.unwrap();
        let (status, answer) = execute(&world, "inner", &last).await;
        assert_eq!((status, &answer["code"]), (400, &json!("not_a_parent")), "{answer}");
        assert_eq!(count().fetch_one(&world.pool).await.unwrap(), before);
        let runs: Vec<(String,)> =
            sqlx::query_as("select workflow_id from runs where completed_at is null")
                .fetch_all(&world.pool)
                .await
                .unwrap();
        let until = std::time::Instant::now() + PATIENCE;
        for (id,) in runs {
            while world.status(&id).await["status"] == "running" {
                assert!(std::time::Instant::now() < until);
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            world.delete(&format!("/workflow/{id}?force=true")).await;
        }
        world.stop().await;
    });
}
