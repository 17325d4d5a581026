//! Runs that are in several branches when somebody steers them, or when nobody is left to.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World, run};

use super::statuses;

const FAN: &str = "name: Steered
version: '1'
description: Three branches, and what takes them back.
on_cancel: undo
steps:
  - id: fan
    type: parallel
    branches:
      one: [{id: deploy, type: agent_call, agent: cicd, resource_lock: stage, on_success: check}, {id: check, type: agent_call, agent: cicd, resource_lock: stage}]
      two: [{id: deploy, type: agent_call, agent: cicd, resource_lock: stage}]
      ask: [{id: ask, type: hitl_approval, risk_assessment: {risk_level: high}, on_approved: branch_complete, on_rejected: branch_failed}]
      rest: [{id: rest, type: wait, for: 30d}]
    join: 3
    on_success: workflow_complete
  - {id: undo, type: agent_call, agent: cicd, resource_lock: stage}
";

async fn started(agents: &Agents) -> (World, String) {
    let yaml = agents.yaml(&[("cicd", true)]);
    let world =
        World::builder().template("steered", FAN).agents(&yaml).coordinators(2).start().await;
    agents.hold("fan.one.check");
    let id = world.execute("steered", json!({})).await;
    agents.called("fan.one.check", 1).await;
    let until = Instant::now() + PATIENCE;
    while world.status(&id).await["waiting_for_lock"] != "stage" {
        assert!(Instant::now() < until, "the second branch does not queue");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (world, id)
}

#[test]
fn a_cancelled_run_leaves_its_branches_and_is_cleaned_up_after() {
    run(async {
        let agents = Agents::agreeable().await;
        let (world, id) = started(&agents).await;
        agents.hold("undo");
        let (status, answer) = world.delete(&format!("/workflow/{id}?reason=stop")).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!((&answer["status"], &answer["on_cancel"]), (&json!("running"), &json!("undo")));
        let cleanup = &answer["cleanup"];
        assert_eq!(
            (&cleanup["agents_notified"], &cleanup["approvals_cancelled"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(cleanup["locks_released"], 0, "what is undone is undone under it");
        agents.called("undo", 1).await;
        let state = world.status(&id).await;
        assert_eq!(state["locks"], json!(["stage"]));
        let until = Instant::now() + PATIENCE;
        while agents.abandoned() != ["fan.one.check"] {
            assert!(Instant::now() < until, "the agent was not told to stop");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        agents.release("undo");
        agents.release("fan.one.check");
        let state = world.wait_for(&id, "cancelled").await;
        let called = agents.calls();
        let called: Vec<&str> = called.iter().map(|call| call.step()).collect();
        assert_eq!(called, ["fan.one.deploy", "fan.one.check", "undo"], "{state:#}");
        assert_eq!(world.get("/locks").await.1["count"], 0);
        world.stop().await;
    });
}

#[test]
fn a_run_that_is_held_up_in_branches_outlives_every_coordinator_and_goes_on() {
    run(async {
        let agents = Agents::agreeable().await;
        let (mut world, id) = started(&agents).await;
        let path = format!("/workflow/{id}/pause");
        let (status, answer) = world.post(&path, &json!({"paused_by": "ops"})).await;
        assert_eq!((status, &answer["status"]), (200, &json!("paused")), "{answer}");
        agents.release("fan.one.check");
        let until = Instant::now() + PATIENCE;
        while statuses(&world.status(&id).await, &["fan.one.check"]) != ["completed"] {
            assert!(Instant::now() < until, "what is in flight is not recorded");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.stop_coordinators().await;
        world.start_coordinator().await;
        while world.get(&format!("/workflow/status/{id}")).await.0 != 200 {
            assert!(Instant::now() < until, "no coordinator answers");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(world.resume(&id, json!({"approval_decision": "approved"})).await.0, 200);
        let state = world.status(&id).await;
        assert_eq!(state["status"], "paused", "decided, and held up");
        assert_eq!(agents.calls().len(), 2, "nothing new has begun");
        let path = format!("/workflow/{id}/unpause");
        assert_eq!(world.post(&path, &json!({"unpaused_by": "ops"})).await.0, 200);
        let state = world.wait_for(&id, "completed").await;
        let ended = ["one", "two", "ask", "rest"]
            .map(|name| state["outputs"]["fan"]["branches"][name]["status"].clone());
        assert_eq!(
            ended.map(|how| how.as_str().unwrap().to_owned()),
            ["succeeded", "succeeded", "succeeded", "stopped"]
        );
        let timers: Vec<(String,)> =
            sqlx::query_as("select step_path from timers").fetch_all(&world.pool).await.unwrap();
        assert!(timers.is_empty(), "nobody waits for 30 days any more: {timers:?}");
        world.stop().await;
    });
}

const BROKEN: &str = "name: Broken
version: '1'
description: An item fails, and a person has the run go on.
steps:
  - id: each
    type: for_each
    items: [1, 2, 3]
    on_branch_failure: collect
    steps: [{id: do, type: agent_call, agent: cicd, payload: {item: '{{ item }}'}}]
error_handling: [{step: each.*.do, max_retries: 0}]
";

#[test]
fn a_failed_run_goes_on_from_the_step_with_all_its_items() {
    run(async {
        let agents = Agents::start(|call| {
            let first = call.command["visit"] == 1;
            match call.command["payload"]["item"] == 2 && first {
                true => (400, json!({"error": {"message": "no"}})),
                false => (200, json!({"visit": call.command["visit"]})),
            }
        })
        .await;
        let yaml = agents.yaml(&[("cicd", true)]);
        let world = World::builder().template("broken", BROKEN).agents(&yaml).start().await;
        let id = world.execute("broken", json!({})).await;
        let state = world.wait_for(&id, "failed").await;
        assert_eq!(state["outputs"]["each"]["failed"], json!([1]));
        let path = |step: &str| format!("/workflow/{id}/retry-from/{step}");
        let (status, answer) = world.post(&path("each.1.do"), &json!({})).await;
        assert_eq!((status, &answer["code"]), (400, &json!("not_retryable")), "{answer}");
        assert_eq!(world.post(&path("each"), &json!({})).await.0, 200);
        let state = world.wait_for(&id, "completed").await;
        let outputs: Vec<&Value> = state["outputs"]["each"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["output"]["visit"])
            .collect();
        assert_eq!(outputs, [2, 2, 2]);
        let calls = agents.calls();
        let mut keys: Vec<&str> = calls.iter().map(|c| c.idempotency_key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 6, "each visit has keys of its own: {keys:?}");
        world.stop().await;
    });
}
