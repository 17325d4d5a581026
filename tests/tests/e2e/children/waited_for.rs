//! A step waits for the end of a run.

use std::time::{Duration, Instant};

use serde_json::json;
use sluice_tests::{PATIENCE, run};

use super::{agents, child, world};

#[test]
fn what_a_child_leaves_is_the_output_of_the_step() {
    run(async {
        let agents = agents().await;
        let world = world(&agents).await;
        agents.hold("apply");
        let id = world.execute("outer", json!({"stage": "blue"})).await;
        agents.called("apply", 1).await;
        let child = child(&world, &id, 0).await;
        let state = world.status(&id).await;
        assert_eq!((&state["status"], &state["current_step"]), (&json!("running"), &json!("ship")));
        let listed = &state["child_workflows"][0];
        assert_eq!(
            (&listed["parent_step_id"], &listed["template_name"], &listed["status"]),
            (&json!("ship"), &json!("inner.workflow.yaml"), &json!("running"))
        );
        let of_child = world.status(&child).await;
        assert_eq!(of_child["parent_workflow_id"], json!(id));
        assert!(child.starts_with("inner-"), "{child}");
        assert_eq!(state["locks"], json!(["stage:blue"]), "held while the child works");
        let (_, why) = world.get(&format!("/workflow/{id}/why")).await;
        let wait = &why["waits"][0];
        assert_eq!((&wait["kind"], &wait["child_workflow_id"]), (&json!("child"), &json!(child)));
        let said = why["sentence"].as_str().unwrap();
        let told = format!("step 'ship' waits for its child {child} since");
        assert!(said.starts_with(&told) && said.ends_with("which is running at 'apply'"), "{said}");
        let (_, list) = world.get("/workflows").await;
        let rows = list["workflows"].as_array().or(list.as_array()).unwrap();
        let row = rows.iter().find(|row| row["workflow_id"] == json!(child)).unwrap();
        assert_eq!(row["parent_workflow_id"], json!(id));

        agents.release("apply");
        let state = world.wait_for(&id, "completed").await;
        let call = agents.calls().into_iter().find(|call| call.step() == "apply").unwrap();
        assert_eq!(call.command["payload"], json!({"stage": "blue", "plan": "plan"}));
        assert_eq!(call.command["context"], json!({"stage": "blue", "plan": "plan"}));
        assert_eq!(state["outputs"]["ship"]["apply"], json!({"by": "apply", "visit": 1}));
        assert_eq!(state["outputs"]["ship"]["check"], json!({"result": false}));
        let report = agents.calls().pop().unwrap();
        assert_eq!(report.command["payload"], json!({"url": "apply"}));
        assert_eq!(state["child_workflows"][0]["status"], "completed");
        assert_eq!(
            world.actions(&id).await,
            [
                "start_workflow:plan",
                "complete_step:plan",
                "acquire_lock:ship",
                "start_child_workflow:ship",
                "child_workflow_complete:ship",
                "complete_step:ship",
                "release_lock:ship",
                "complete_step:report",
                "complete_workflow",
            ]
        );
        for event in world.events(&child).await.as_array().unwrap() {
            assert_eq!(event["parent_workflow_id"], json!(id), "on every event of a child");
        }
        world.stop().await;
    });
}

#[test]
fn a_failed_child_is_a_failed_step_and_a_retry_starts_another() {
    run(async {
        let agents = agents().await;
        let world = world(&agents).await;
        let id = world.execute("outer", json!({"stage": "broken"})).await;
        let state = world.wait_for(&id, "failed").await;
        let first = child(&world, &id, 0).await;
        assert_eq!(
            (&state["failed_step"], &state["failure_reason"]),
            (&json!("ship"), &json!("child_failed"))
        );
        let message = state["error_message"].as_str().unwrap();
        let expected = format!("its child {first} ended as failed at step 'apply'");
        assert!(message.starts_with(&expected), "{message}");
        let mend = agents.calls().pop().unwrap();
        assert_eq!(mend.step(), "mend");
        assert_eq!(mend.command["payload"], json!({"why": message, "how": "failed"}));
        assert_eq!(state["child_workflows"][0]["status"], "failed");
        assert_eq!(state["outputs"]["ship"]["workflow_id"], json!(first));

        let path = format!("/workflow/{id}/retry-from/ship");
        assert_eq!(world.post(&path, &json!({})).await.0, 200);
        let second = child(&world, &id, 1).await;
        assert_ne!(first, second);
        world.wait_for_end(&id, "failed", 2).await;
        assert_eq!(world.status(&second).await["status"], "failed");
        let calls = agents.calls();
        let keys: Vec<&str> = calls
            .iter()
            .filter(|call| call.step() == "apply")
            .map(|call| call.idempotency_key.as_str())
            .collect();
        assert_eq!(keys, [format!("{first}/apply/1"), format!("{second}/apply/1")]);
        world.stop().await;
    });
}

#[test]
fn a_child_that_waits_for_a_person_keeps_its_parent_waiting_whoever_coordinates() {
    run(async {
        let agents = agents().await;
        let mut world = world(&agents).await;
        let id = world.execute("outer", json!({"stage": "guarded"})).await;
        let child = child(&world, &id, 0).await;
        world.wait_for(&child, "paused").await;
        assert_eq!(world.status(&id).await["status"], "running");
        let rows: Vec<(String, String, i32, String)> =
            sqlx::query_as("select * from child_waits").fetch_all(&world.pool).await.unwrap();
        assert_eq!(rows, [(id.clone(), "ship".to_owned(), 1, child.clone())]);
        let other = world.execute("free", json!({"stage": "guarded"})).await;
        let lost = super::child(&world, &other, 0).await;
        world.wait_for(&lost, "paused").await;
        world.stop_coordinators().await;
        let before = world.actions(&id).await;
        // However long it takes, nobody takes the parent for stranded or abandoned; the other one has lost
        // what says that it waits.
        for (statement, of) in [
            ("update runs set updated_at = now() - interval '40 days' where workflow_id <> $1", ""),
            ("delete from child_waits where child_workflow_id = $1", lost.as_str()),
        ] {
            sqlx::query(statement).bind(of).execute(&world.pool).await.unwrap();
        }
        world.start_coordinator().await;
        let until = Instant::now() + PATIENCE;
        while waited_for(&world).await.len() < 2 {
            assert!(Instant::now() < until, "the watchdog has not come by");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(world.actions(&id).await, before);
        let metrics = world.http.get(format!("{}/metrics", world.url)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains("\nsluice_runs_repaired_total 1\n"), "{metrics}");
        for child in [&lost, &child] {
            assert_eq!(world.resume(child, json!({"approval_decision": "approved"})).await.0, 200);
        }
        world.wait_for(&other, "completed").await;
        world.wait_for(&id, "completed").await;
        world.stop().await;
    });
}

#[test]
fn an_end_that_was_not_told_is_found() {
    run(async {
        let agents = agents().await;
        let mut world = world(&agents).await;
        let id = world.execute("outer", json!({"stage": "blue"})).await;
        world.wait_for(&id, "completed").await;
        let child = child(&world, &id, 0).await;
        world.stop_coordinators().await;
        // As if somebody still waited for a child that has ended, and for one that never was.
        let waits = "insert into child_waits values ($1, 'ship', 1, $2), ($1, 'ship', 2, 'nobody')";
        sqlx::query(waits).bind(&id).bind(&child).execute(&world.pool).await.unwrap();
        world.start_coordinator().await;
        let until = Instant::now() + PATIENCE;
        while !waited_for(&world).await.is_empty() {
            assert!(Instant::now() < until, "nobody has looked");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world.stop().await;
    });
}

async fn waited_for(world: &sluice_tests::World) -> Vec<String> {
    sqlx::query_scalar("select child_workflow_id from child_waits")
        .fetch_all(&world.pool)
        .await
        .unwrap()
}
