//! What is wrong is refused with a clear word, or fails its own run; nothing is lost, and the next good
//! run completes.

mod agents;
mod commands;
mod decisions;
mod limits;
mod models;
mod requests;

use serde_json::{Value, json};
use sluice_tests::World;

/// One step of a good agent.
const GOOD: &str = r#"
name: Good
version: "1.0"
description: Nothing is wrong with it.
steps:
  - {id: only, type: agent_call, agent: good, payload: {n: "{{ context.n }}"}, on_success: workflow_complete}
"#;

/// A good run still goes through.
async fn assert_alive(world: &World) {
    let id = world.execute("good", json!({"n": 1})).await;
    world.wait_for(&id, "completed").await;
}

async fn runs(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from runs").fetch_one(&world.pool).await.unwrap()
}

/// An error body of the API: its text names what is wrong, its code is the one for programs.
fn assert_error(answer: &Value, code: &str, part: &str) {
    assert_eq!(answer["code"], code, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains(part), "'{part}' is not in {answer}");
}
