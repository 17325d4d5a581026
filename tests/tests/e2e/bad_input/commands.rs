//! Commands on the work queue: one run however often they come, and a dead letter when refused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};

use super::{GOOD, assert_alive, runs};

const EXECUTE: &str = "workflow.execute";

async fn world() -> World {
    let agents = Agents::agreeable().await;
    World::builder().template("good", GOOD).agents(&agents.yaml(&[("good", false)])).start().await
}

fn good(n: u32) -> String {
    json!({"template_name": "good.workflow.yaml", "context": {"n": n}}).to_string()
}

/// Asks JetStream itself.
async fn jetstream(world: &World, verb: &str) -> Value {
    let subject = format!("$JS.API.STREAM.{verb}.{}", world.bus.subjects().commands_stream());
    serde_json::from_slice(&world.bus.request(subject, "", Duration::from_secs(5)).await.unwrap())
        .unwrap()
}

/// Waits until the queue is empty: every command in it was carried out or refused.
async fn drained(world: &World) {
    let until = Instant::now() + PATIENCE;
    loop {
        let info = jetstream(world, "INFO").await;
        if info["state"]["messages"] == 0 {
            return;
        }
        assert!(Instant::now() < until, "commands that nobody settles: {info}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_command_that_comes_twice_is_one_run() {
    run(async {
        let world = world().await;
        world.bus.publish_command(EXECUTE, good(1), "one").await.unwrap();
        world.bus.publish_command(EXECUTE, good(1), "one").await.unwrap();
        drained(&world).await;
        assert_eq!(runs(&world).await, 1);
        // The queue itself forgets what it has seen; the coordinator does not.
        assert_eq!(jetstream(&world, "DELETE").await["success"], true);
        world.bus.publish_command(EXECUTE, good(1), "one").await.unwrap();
        world.bus.publish_command(EXECUTE, good(2), "two").await.unwrap();
        drained(&world).await;
        assert_eq!(runs(&world).await, 2);
        let (_, list) = world.get("/workflows").await;
        for summary in list.as_array().unwrap() {
            world.wait_for(summary["workflow_id"].as_str().unwrap(), "completed").await;
        }
        assert_eq!(dead_letters(&world).await, []);
        world.stop().await;
    });
}

#[test]
fn a_command_that_cannot_be_carried_out_is_kept_with_the_reason() {
    run(async {
        let world = world().await;
        let cases: [(&str, &str, &str); 7] = [
            (
                EXECUTE,
                r#"{"template_name":"better","context":{}}"#,
                "no template 'better.workflow.yaml'",
            ),
            (EXECUTE, r#"{"template_name":"good"}"#, "context"),
            (EXECUTE, "start a good run, please", "expected value"),
            (EXECUTE, "", "template_name"),
            (EXECUTE, "{\"template_name\":\"good\",\"context\":{\"a\":\"\\u0000\"}}", "context.a"),
            (
                "workflow.resume",
                r#"{"workflow_id":"nobody","approval_decision":"approved"}"#,
                "no workflow 'nobody'",
            ),
            ("workflow.explode", "{}", "no command 'workflow.explode'"),
        ];
        for (n, (verb, body, _)) in cases.iter().enumerate() {
            world.bus.publish_command(verb, *body, &format!("bad-{n}")).await.unwrap();
        }
        world.bus.publish_command(EXECUTE, good(1), "good").await.unwrap();
        drained(&world).await;
        let letters = dead_letters(&world).await;
        assert_eq!(letters.len(), cases.len(), "{letters:#?}");
        for (verb, body, part) in cases {
            let subject = world.bus.subjects().command(verb);
            let kept = letters
                .iter()
                .find(|(on, _, payload)| *on == subject && payload == body.as_bytes());
            let (_, reason, _) = kept.unwrap_or_else(|| panic!("{body} is not kept: {letters:#?}"));
            assert!(reason.contains(part), "{body}: {reason}");
        }
        assert_eq!(runs(&world).await, 1);
        assert_alive(&world).await;
        world.stop().await;
    });
}

async fn dead_letters(world: &World) -> Vec<(String, String, Vec<u8>)> {
    sqlx::query_as("select subject, reason, payload from dead_letters order by dead_letter_id")
        .fetch_all(&world.pool)
        .await
        .unwrap()
}
