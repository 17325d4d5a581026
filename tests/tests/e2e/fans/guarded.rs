//! Locks, people, retries, breakers and escalations are in branches what they are elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

use super::statuses;

const MIXED: &str = "name: Mixed
version: '1'
description: A lock, a person and a retry, side by side.
steps:
  - id: fan
    type: parallel
    branches:
      one: [{id: plan, type: agent_call, agent: writer, resource_lock: stage, on_success: apply}, {id: apply, type: agent_call, agent: writer, resource_lock: stage}]
      two: [{id: apply, type: agent_call, agent: writer, resource_lock: stage}]
      ask: [{id: ask, type: hitl_approval, risk_assessment: {risk_level: high}, on_approved: branch_complete, on_rejected: branch_failed}]
      say: [{id: ask, type: hitl_approval, risk_assessment: {risk_level: medium}, on_approved: act, on_rejected: branch_failed}, {id: act, type: agent_call, agent: reader}]
      try: [{id: fetch, type: agent_call, agent: flaky}]
    on_success: after
  - {id: after, type: agent_call, agent: reader}
";

#[test]
fn a_lock_people_and_a_retry_side_by_side() {
    run(async {
        let times = AtomicUsize::new(0);
        let agents = Agents::start(move |call| match call.agent.as_str() {
            "flaky" if times.fetch_add(1, Ordering::SeqCst) == 0 => (503, json!({})),
            _ => (200, json!({"by": call.step(), "attempt": call.attempt()})),
        })
        .await;
        let yaml = agents.yaml(&[("reader", false), ("writer", true), ("flaky", false)]);
        let world =
            World::builder().template("mixed", MIXED).agents(&yaml).coordinators(2).start().await;
        agents.hold("fan.one.apply");
        let id = world.execute("mixed", json!({})).await;
        agents.called("fan.one.apply", 1).await;
        agents.called("fan.try.fetch", 2).await;
        let state = loop {
            let state = world.status(&id).await;
            if statuses(&state, &["fan.try.fetch"]) == ["completed"] {
                break state;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        assert_eq!(state["status"], "running", "an agent is at work");
        assert_eq!(
            (&state["waiting_for_lock"], &state["locks"]),
            (&json!("stage"), &json!(["stage"]))
        );
        assert_eq!(state["outputs"]["fan.try.fetch"]["attempt"], 2);
        let lock = &world.get("/locks").await.1["locks"][0];
        assert_eq!(lock["holder"]["step_id"], "fan.one.plan");
        assert_eq!(lock["waiters"][0]["step_id"], "fan.two.apply");
        assert_eq!(state["pending_approval"]["step_id"], "fan.ask.ask", "the first in the file");
        // Both are asked at once, and each decision is about the one that it names.
        let ids: Vec<(String, String)> = sqlx::query_as(
            "select step_id, approval_id from approvals where workflow_id = $1 and status = 'pending' order by step_id",
        )
        .bind(&id)
        .fetch_all(&world.pool)
        .await
        .unwrap();
        let steps: Vec<&str> = ids.iter().map(|(step, _)| step.as_str()).collect();
        assert_eq!(steps, ["fan.ask.ask", "fan.say.ask"]);
        let approve =
            json!({"approval_decision": "approved", "approver": "ana", "approval_id": ids[1].1});
        assert_eq!(world.resume(&id, approve.clone()).await.0, 200);
        assert_eq!(world.resume(&id, approve).await.0, 409, "it is decided");
        agents.called("fan.say.act", 1).await;
        agents.release("fan.one.apply");
        agents.called("fan.two.apply", 1).await;
        let paused = world.wait_for(&id, "paused").await;
        assert_eq!(paused["pending_approval"]["step_id"], "fan.ask.ask");
        assert_eq!(paused["locks"], json!([]));
        assert_eq!(world.resume(&id, json!({"approval_decision": "approved"})).await.0, 200);
        let done = world.wait_for(&id, "completed").await;
        assert_eq!(done["outputs"]["fan"]["succeeded"].as_array().unwrap().len(), 5);
        let numbers: Vec<Value> = agents
            .calls()
            .iter()
            .filter(|call| call.agent == "writer")
            .map(|call| json!([call.step(), call.command["locks"][0]["fencing_number"]]))
            .collect();
        let turns =
            [json!(["fan.one.plan", 1]), json!(["fan.one.apply", 1]), json!(["fan.two.apply", 2])];
        assert_eq!(numbers, turns, "kept from plan to apply, then handed over within the run");
        let actions = world.actions(&id).await;
        for expected in [
            "wait_lock:fan.two.apply",
            "release_lock:fan.one.plan",
            "acquire_lock:fan.two.apply",
            "retry_step:fan.try.fetch",
            "resume_workflow:fan.say.ask",
            "complete_step:fan",
        ] {
            assert_eq!(
                actions.iter().filter(|a| *a == expected).count(),
                1,
                "{expected}: {actions:?}"
            );
        }
        world.stop().await;
    });
}

const GUARDED: &str = "name: Guarded
version: '1'
description: A branch that stops trying after two failures, and tells people.
steps:
  - id: each
    type: for_each
    items: [x]
    on_branch_failure: collect
    steps: [{id: deploy, type: agent_call, agent: cicd}]
error_handling:
  - {step: each.*.deploy, max_retries: 0, circuit_breaker: {failure_threshold: 2}, escalation_path: [infrastructure, hitl]}
error_recovery:
  escalation: {on_any_failure: true, priority: urgent, notify_channels: [slack]}
";

#[test]
fn a_breaker_and_an_escalation_in_a_branch() {
    run(async {
        let calls = Arc::new(AtomicUsize::new(0));
        let agents = Agents::start(|_| (503, json!({"error": {"message": "no capacity"}}))).await;
        let yaml = agents.yaml(&[("cicd", true)]);
        let world = World::builder()
            .template("guarded", GUARDED)
            .agents(&yaml)
            .coordinators(2)
            .start()
            .await;
        for (run, reason) in
            [(1, "http_503"), (2, "http_503"), (3, "circuit_open"), (4, "circuit_open")]
        {
            let id = world.execute("guarded", json!({})).await;
            let state = world.wait_for(&id, "failed").await;
            let item = &state["outputs"]["each"]["items"][0];
            assert_eq!(item["error_type"], reason, "run {run}: {state:#}");
            assert_eq!(item["failed_step"], "each.0.deploy");
            assert_eq!(state["failed_step"], "each");
            let events = world.events(&id).await;
            let escalations: Vec<&Value> =
                events.as_array().unwrap().iter().filter(|e| e["action"] == "escalate").collect();
            assert_eq!(escalations.len(), 1, "once a run: {events:#}");
            assert_eq!(escalations[0]["step_id"], "each.0.deploy");
            calls.fetch_add(usize::from(run <= 2), Ordering::SeqCst);
            assert_eq!(agents.calls().len(), calls.load(Ordering::SeqCst));
        }
        let breaker = &world.get("/breakers").await.1["breakers"][0];
        assert_eq!(
            (&breaker["step_id"], &breaker["state"], &breaker["failures"]),
            (&json!("each.*.deploy"), &json!("open"), &json!(2))
        );
        world.stop().await;
    });
}
