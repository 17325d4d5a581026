//! What follows a step that failed for good, with real agents: breakers, escalation, compensation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};

const GUARDED: &str = r#"
name: Guarded
version: "1.0"
description: A deployment that stops trying after two failures, and tells people.
steps:
  - {id: deploy, type: agent_call, agent: cicd}
error_handling:
  - {step: deploy, max_retries: 0, circuit_breaker: {failure_threshold: 2}, escalation_path: [infrastructure, hitl]}
error_recovery:
  escalation: {on_any_failure: true, priority: urgent, notify_channels: [slack]}
"#;

const UNDONE: &str = r#"
name: Undone
version: "1.0"
description: Undoes its own partial changes when it fails.
steps:
  - id: update
    type: agent_call
    agent: infrastructure
    resource_lock: "infrastructure:eu"
    payload: {action: update, region: eu}
error_handling:
  - {step: update, max_retries: 0, rollback: true}
"#;

async fn breakers(world: &World) -> Value {
    let (status, answer) = world.get("/breakers").await;
    assert_eq!(status, 200, "{answer}");
    answer["breakers"].clone()
}

#[test]
fn a_breaker_is_one_for_all_runs_and_coordinators() {
    run(async {
        let broken = Arc::new(AtomicBool::new(true));
        let is_broken = Arc::clone(&broken);
        let agents = Agents::start(move |_| match is_broken.load(Ordering::SeqCst) {
            true => (503, json!({"error": {"message": "no capacity"}})),
            false => (200, json!({"ok": true})),
        })
        .await;
        let yaml = agents.yaml(&[("cicd", true)]);
        let world = World::builder()
            .template("guarded", GUARDED)
            .agents(&yaml)
            .coordinators(2)
            .start()
            .await;
        assert_eq!(breakers(&world).await, json!([]));
        for failures in 1..=2 {
            let id = world.execute("guarded", json!({})).await;
            world.wait_for(&id, "failed").await;
            assert_eq!(breakers(&world).await[0]["failures"], failures);
        }
        let breaker = &breakers(&world).await[0];
        assert_eq!(
            (&breaker["template_name"], &breaker["step_id"], &breaker["state"]),
            (&json!("guarded.workflow.yaml"), &json!("deploy"), &json!("open"))
        );
        assert_eq!(breaker["failure_threshold"], 2);
        // Whichever coordinator gets the next runs, none of them calls the agent.
        for _ in 0..4 {
            let id = world.execute("guarded", json!({})).await;
            let state = world.wait_for(&id, "failed").await;
            assert_eq!(state["failure_reason"], "circuit_open");
            assert!(state["error_message"].as_str().unwrap().contains("circuit breaker"));
        }
        assert_eq!(agents.calls().len(), 2);

        // A minute later: one trial, and only one.
        let earlier = "update breakers set opened_at = opened_at - interval '61 seconds', version = version + 1";
        sqlx::query(earlier).execute(&world.pool).await.unwrap();
        assert_eq!(breakers(&world).await[0]["state"], "half_open");
        agents.hold("deploy");
        let trial = world.execute("guarded", json!({})).await;
        agents.called("deploy", 3).await;
        assert_eq!(breakers(&world).await[0]["trial_workflow_id"], json!(trial));
        let other = world.execute("guarded", json!({})).await;
        assert_eq!(world.wait_for(&other, "failed").await["failure_reason"], "circuit_open");
        broken.store(false, Ordering::SeqCst);
        agents.release("deploy");
        world.wait_for(&trial, "completed").await;
        assert_eq!(breakers(&world).await[0]["successes"], 1);
        let second = world.execute("guarded", json!({})).await;
        world.wait_for(&second, "completed").await;
        assert_eq!(breakers(&world).await, json!([]), "two successes close it");
        assert_eq!(agents.calls().len(), 4);
        world.stop().await;
    });
}

#[test]
fn two_files_with_one_text_are_two_templates() {
    run(async {
        let agents = Agents::start(|_| (503, json!({"error": {"message": "no capacity"}}))).await;
        let yaml = agents.yaml(&[("cicd", true)]);
        let world = World::builder().template("one", GUARDED).template("two", GUARDED);
        let mut world = world.agents(&yaml).start().await;
        for template in ["one", "one", "two"] {
            let id = world.execute(template, json!({})).await;
            let state = world.wait_for(&id, "failed").await;
            assert_eq!(state["failure_reason"], "http_503");
        }
        // Whoever has to read the text anew knows it under the right name, too.
        world.stop_coordinators().await;
        world.start_coordinator().await;
        let until = Instant::now() + PATIENCE;
        while world.get("/breakers").await.0 != 200 {
            assert!(Instant::now() < until, "the new coordinator does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let id = world.execute("two", json!({})).await;
        assert_eq!(world.wait_for(&id, "failed").await["failure_reason"], "http_503");
        let of = |breaker: &Value| (breaker["template_name"].clone(), breaker["failures"].clone());
        let mut all: Vec<_> = breakers(&world).await.as_array().unwrap().iter().map(of).collect();
        all.sort_by_key(|(name, _)| name.to_string());
        let two = |name: &str| (json!(format!("{name}.workflow.yaml")), json!(2));
        assert_eq!(all, [two("one"), two("two")]);
        world.stop().await;
    });
}

#[test]
fn a_failure_is_told_once_a_run_however_often_it_fails() {
    run(async {
        let agents = Agents::start(|_| (400, json!({"error": {"message": "no"}}))).await;
        let yaml = agents.yaml(&[("cicd", true)]);
        let world = World::builder().template("guarded", GUARDED).agents(&yaml).start().await;
        let id = world.execute("guarded", json!({})).await;
        world.wait_for(&id, "failed").await;
        let path = format!("/workflow/{id}/retry-from/deploy");
        assert_eq!(world.post(&path, &json!({})).await.0, 200);
        world.wait_for_end(&id, "failed", 2).await;
        let events = world.events(&id).await;
        let escalations: Vec<&Value> = events
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["action"] == "escalate")
            .collect();
        assert_eq!(escalations.len(), 1, "{events:#}");
        let data = &escalations[0]["data"];
        assert_eq!((&data["reason"], &data["priority"]), (&json!("any_failure"), &json!("urgent")));
        assert_eq!(data["escalation_path"], json!(["infrastructure", "hitl"]));
        let delivered = |event: &&Value| {
            event["action"] == "notify"
                && event["data"]["trigger"] == "escalation"
                && event["data"]["status"] == "delivered"
        };
        let until = std::time::Instant::now() + sluice_tests::PATIENCE;
        while world.events(&id).await.as_array().unwrap().iter().filter(delivered).count() != 1 {
            assert!(std::time::Instant::now() < until, "the escalation was not delivered");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        world.stop().await;
    });
}

#[test]
fn an_agent_undoes_its_own_partial_changes_under_its_lock() {
    run(async {
        let agents = Agents::start(|call| match call.command["payload"]["action"].as_str() {
            Some("rollback") => (200, json!({"undone": true})),
            _ => (500, json!({"error": {"message": "half done"}})),
        })
        .await;
        let yaml = agents.yaml(&[("infrastructure", true)]);
        let world = World::builder().template("undone", UNDONE).agents(&yaml).start().await;
        let id = world.execute("undone", json!({})).await;
        let state = world.wait_for(&id, "failed").await;
        assert_eq!(state["outputs"]["update"]["rolled_back"], true);
        assert_eq!(state["failed_step"], "update");
        let calls = agents.calls();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[1].command["kind"], "compensate");
        assert_eq!(calls[1].command["payload"], json!({"action": "rollback", "region": "eu"}));
        assert_eq!(calls[1].idempotency_key, format!("{id}/update.undo/1"));
        assert_eq!(calls[1].command["claim"], true);
        let actions = world.actions(&id).await;
        assert_eq!(
            actions[1..],
            [
                "acquire_lock:update",
                "fail_step:update",
                "rollback_step:update",
                "release_lock:update",
                "complete_workflow",
            ]
        );
        world.stop().await;
    });
}
