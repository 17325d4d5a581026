//! A failed run goes on from a step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

const THREE: &str = r#"
name: Three
version: "1.0"
description: Builds, tests and deploys.
steps:
  - {id: build, type: agent_call, agent: helper, on_success: test}
  - {id: test, type: agent_call, agent: helper, on_success: deploy}
  - {id: deploy, type: agent_call, agent: cicd, resource_lock: "deployment:production"}
notifications:
  - {trigger: workflow_failed, channels: [log]}
"#;

#[test]
fn a_failed_run_goes_on_from_where_it_failed() {
    run(async {
        let broken = Arc::new(AtomicBool::new(true));
        let is_broken = Arc::clone(&broken);
        let agents = Agents::start(move |call| match call.agent.as_str() {
            "cicd" if is_broken.load(Ordering::SeqCst) => {
                (400, json!({"error": {"message": "no"}}))
            }
            _ => (200, json!({"visit": call.command["visit"]})),
        })
        .await;
        let yaml = agents.yaml(&[("helper", false), ("cicd", true)]);
        let world = World::builder().template("three", THREE).agents(&yaml).start().await;
        let id = world.execute("three", json!({})).await;
        world.wait_for(&id, "failed").await;
        let before = world.events(&id).await;

        for (step, max, status, code) in
            [("deploy", 0, 400, "not_retryable"), ("nothing", 3, 404, "step_not_found")]
        {
            let path = format!("/workflow/{id}/retry-from/{step}?max_retries={max}");
            let (got, answer) = world.post(&path, &json!({})).await;
            assert_eq!((got, &answer["code"]), (status, &json!(code)), "{answer}");
        }
        let (status, _) =
            world.post("/workflow/three-0000000000000000/retry-from/deploy", &json!({})).await;
        assert_eq!(status, 404);
        let path = format!("/workflow/{id}/retry-from/deploy?max_retries=-1");
        assert_eq!(world.post(&path, &json!({})).await.0, 422);

        let path = format!("/workflow/{id}/retry-from/deploy?max_retries=3&requested_by=ops");
        let (status, answer) = world.post(&path, &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(
            (&answer["retry_attempt"], &answer["backoff_delay"], &answer["status"]),
            (&json!(1), &json!(2.0), &json!("retrying"))
        );
        let (again, answer) = world.post(&path, &json!({})).await;
        assert_eq!((again, &answer["code"]), (400, &json!("not_retryable")), "it runs: {answer}");
        world.wait_for_end(&id, "failed", 2).await;

        broken.store(false, Ordering::SeqCst);
        let path = format!("/workflow/{id}/retry-from/test?max_retries=3");
        assert_eq!(world.post(&path, &json!({})).await.0, 200);
        let state = world.wait_for(&id, "completed").await;
        assert_eq!(state["outputs"]["build"], json!({"visit": 1}));
        assert_eq!(state["outputs"]["test"], json!({"visit": 2}));
        assert_eq!(state["outputs"]["deploy"], json!({"visit": 3}));
        assert_eq!(state["error_message"], json!(null));

        let after = world.events(&id).await;
        let (before, after) = (before.as_array().unwrap(), after.as_array().unwrap());
        assert_eq!(&after[..before.len()], &before[..], "history only grows");
        let mut keys: Vec<String> = agents
            .calls()
            .iter()
            .filter(|call| call.step() == "deploy")
            .map(|call| call.idempotency_key.clone())
            .collect();
        keys.dedup();
        assert_eq!(keys, [1, 2, 3].map(|visit| format!("{id}/deploy/{visit}")));
        let notified = after.iter().filter(|e| e["data"]["status"] == "requested").count();
        assert_eq!(notified, 2, "each failure is told");
        world.stop().await;
    });
}
