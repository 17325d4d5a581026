//! Messages that could not be processed: kept, shown, sent again, dropped, and each act on the record.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_proto::ids::AgentName;
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};

const ONE_STEP: &str = "name: One
version: \"1.0\"
description: One step.
steps:
  - {id: only, type: agent_call, agent: reader, on_success: workflow_complete}
";

async fn world(agents: &Agents, workers: usize) -> World {
    let agents = agents.yaml(&[("reader", false)]);
    World::builder().template("one", ONE_STEP).agents(&agents).workers(workers).start().await
}

/// Waits until so many letters wait.
async fn waiting(world: &World, count: u64) -> Vec<Value> {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let (code, answer) = world.get("/dead-letters").await;
        assert_eq!(code, 200, "{answer}");
        if answer["waiting"] == count {
            return answer["dead_letters"].as_array().unwrap().clone();
        }
        assert!(std::time::Instant::now() < until, "never {count}: {answer:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn path(letter: &Value, rest: &str) -> String {
    format!("/dead-letters/{}{rest}", letter["dead_letter_id"])
}

#[test]
fn a_refused_command_is_sent_again_once_its_template_is_there() {
    run(async {
        let world = world(&Agents::agreeable().await, 1).await;
        let body = r#"{"template_name":"late","workflow_id":"late-1","context":{"a":1}}"#;
        world.bus.publish_command("workflow.execute", body, "once").await.unwrap();
        let letter = waiting(&world, 1).await.remove(0);
        assert_eq!((&letter["source"], &letter["status"]), (&json!("command"), &json!("waiting")));
        assert!(letter["reason"].as_str().unwrap().contains("no template 'late.workflow.yaml'"));
        let (_, shown) = world.get(&path(&letter, "")).await;
        assert_eq!((&shown["payload"], &shown["acts"]), (&json!(body), &json!([])));
        // Sent again too early, it comes back as another letter.
        let act = json!({"by": "ada", "comment": "the template is there now"});
        let (code, answer) = world.post(&path(&letter, "/redrive"), &act).await;
        assert_eq!((code, &answer["status"]), (200, &json!("redriven")), "{answer}");
        assert_eq!(
            (&answer["acts"][0]["act"], &answer["acts"][0]["by"]),
            (&json!("redrive"), &json!("ada"))
        );
        let second = waiting(&world, 1).await.remove(0);
        assert_ne!(second["dead_letter_id"], letter["dead_letter_id"]);
        std::fs::write(world.folder.join("late.workflow.yaml"), ONE_STEP).unwrap();
        assert_eq!(world.post(&path(&second, "/redrive"), &act).await.0, 200);
        let until = std::time::Instant::now() + PATIENCE;
        while world.get("/workflow/status/late-1").await.0 != 200 {
            assert!(std::time::Instant::now() < until, "{:?}", waiting(&world, 0).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.wait_for("late-1", "completed").await;
        // Once is enough.
        assert_eq!(world.post(&path(&second, "/redrive"), &act).await.0, 409);
        assert_eq!(world.post(&path(&second, "/drop"), &act).await.0, 409);
        assert_eq!(world.get("/dead-letters?status=redriven").await.1["count"], 2);
        waiting(&world, 0).await;
        for (path, code) in [
            ("/dead-letters/999999", 404),
            ("/dead-letters/x", 404),
            ("/dead-letters?status=odd", 422),
        ] {
            assert_eq!(world.get(path).await.0, code, "{path}");
        }
        assert_eq!(world.post("/dead-letters/999999/drop", &json!({})).await.0, 404);
        world.stop().await;
    });
}

#[test]
fn a_command_that_no_worker_can_read_is_kept_with_its_payload() {
    run(async {
        let world = world(&Agents::agreeable().await, 1).await;
        let subject = world.bus.subjects().step(&AgentName::parse("reader").unwrap(), false);
        world.bus.redrive(&subject, "nonsense".into(), "nonsense").await.unwrap();
        let letter = waiting(&world, 1).await.remove(0);
        assert_eq!((&letter["source"], &letter["subject"]), (&json!("step"), &json!(subject)));
        assert_eq!(world.get(&path(&letter, "")).await.1["payload"], "nonsense");
        let act = json!({"by": "ada", "comment": "whoever sent that"});
        let (code, answer) = world.post(&path(&letter, "/drop"), &act).await;
        assert_eq!((code, &answer["status"]), (200, &json!("dropped")));
        waiting(&world, 0).await;
        // The advisory of its termination brings no second letter.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(world.get("/dead-letters?status=waiting").await.1["count"], 0);
        world.stop().await;
    });
}

#[test]
fn what_was_delivered_too_often_is_kept_and_its_run_goes_on() {
    run(async {
        let mut world = world(&Agents::agreeable().await, 0).await;
        let agent = AgentName::parse("reader").unwrap();
        world.bus.ensure_step_consumers(std::slice::from_ref(&agent)).await.unwrap();
        let id = world.execute("one", json!({})).await;
        let mut puller = world.bus.step_puller(&agent);
        let mut deliveries = 0;
        loop {
            let pulled = puller.next(1, Duration::from_secs(2)).await.unwrap();
            let Some(delivery) = pulled.into_iter().find(|d| d.delivered_count <= 20) else {
                break;
            };
            deliveries += 1;
            delivery.nak(None).await.unwrap();
            if deliveries == 20 {
                break;
            }
        }
        assert_eq!(deliveries, 20);
        drop(puller);
        world.start_worker().await;
        let letter = waiting(&world, 1).await.remove(0);
        assert_eq!((&letter["source"], &letter["workflow_id"]), (&json!("step"), &json!(id)));
        assert!(letter["reason"].as_str().unwrap().contains("20 times"), "{letter}");
        // The run does not depend on the message.
        world.wait_for(&id, "completed").await;
        assert_eq!(world.post(&path(&letter, "/drop"), &json!({})).await.0, 200);
        world.stop().await;
    });
}

#[test]
fn an_attempt_that_workers_lose_three_times_is_kept_as_what_tries_it_again() {
    run(async {
        let agents = Agents::agreeable().await;
        let mut world = World::builder()
            .template("one", ONE_STEP)
            .agents(&agents.yaml(&[("reader", false)]))
            .workers(0)
            .lease_ms(300)
            .start()
            .await;
        let agent = AgentName::parse("reader").unwrap();
        world.bus.ensure_step_consumers(std::slice::from_ref(&agent)).await.unwrap();
        let id = world.execute("one", json!({})).await;
        let mut puller = world.bus.step_puller(&agent);
        // Each of these workers says that it has the command, and is never heard of again.
        for n in 1..=3 {
            let delivery = puller.next(1, PATIENCE).await.unwrap().pop().expect("no command came");
            let command: Value = serde_json::from_slice(&delivery.payload).unwrap();
            let heartbeat = json!({"v": 1, "command_id": command["command_id"], "fence": command["fence"], "worker_id": format!("gone-{n}")});
            let run = sluice_proto::ids::WorkflowId::parse(&id).unwrap();
            let subject = world.bus.subjects().heartbeat(&agent, &run);
            world.bus.publish(subject, heartbeat.to_string()).await.unwrap();
            delivery.ack().await.unwrap();
        }
        let state = world.wait_for(&id, "failed").await;
        assert_eq!(state["failure_reason"], "undeliverable");
        let letter = waiting(&world, 1).await.remove(0);
        assert_eq!((&letter["source"], &letter["workflow_id"]), (&json!("attempt"), &json!(id)));
        drop(puller);
        world.start_worker().await;
        assert_eq!(world.post(&path(&letter, "/redrive"), &json!({"by": "ada"})).await.0, 200);
        let until = std::time::Instant::now() + PATIENCE;
        while world.status(&id).await["status"] != "completed" {
            assert!(std::time::Instant::now() < until, "{:#}", world.events(&id).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.stop().await;
    });
}
