//! Locks under operators' eyes and hands.

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

/// Keeps the lock while a person decides.
const HOLDER: &str = r#"
name: Holder
version: "1.0"
description: Holds a lock over an approval.
steps:
  - {id: plan, type: agent_call, agent: reader, resource_lock: "stage:{{ context.stage }}", on_success: approve}
  - {id: approve, type: hitl_approval, risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}, on_approved: apply, on_rejected: workflow_failed}
  - {id: apply, type: agent_call, agent: reader, resource_lock: "stage:{{ context.stage }}", on_success: workflow_complete, on_failure: workflow_failed}
"#;

/// Waits for a person first, and wants the lock then.
const LATE: &str = r#"
name: Late
version: "1.0"
description: Wants a lock after an approval.
steps:
  - {id: approve, type: hitl_approval, risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}, on_approved: act, on_rejected: workflow_failed}
  - {id: act, type: agent_call, agent: reader, resource_lock: "stage:x", on_success: workflow_complete, on_failure: workflow_failed}
"#;

async fn world(agents: &Agents) -> World {
    World::builder()
        .template("holder", HOLDER)
        .template("urgent", &HOLDER.replacen("name: Holder", "name: Urgent\npriority: urgent", 1))
        .template("late", LATE)
        .agents(&agents.yaml(&[("reader", false)]))
        .coordinators(2)
        .start()
        .await
}

/// Waits until so many runs wait for the lock.
async fn waiting(world: &World, count: u64) -> Value {
    loop {
        let (_, answer) = world.get("/locks").await;
        if answer["locks"][0]["waiters_count"] == count {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[test]
fn urgent_runs_queue_first_and_everybody_can_see_it() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        let context = json!({"stage": "x"});
        let first = world.execute("holder", context.clone()).await;
        world.wait_for(&first, "paused").await;
        let mut ids = Vec::new();
        for (n, template) in ["holder", "holder", "urgent", "urgent"].into_iter().enumerate() {
            ids.push(world.execute(template, context.clone()).await);
            waiting(&world, n as u64 + 1).await;
        }
        let shown = waiting(&world, 4).await;
        let lock = &shown["locks"][0];
        assert_eq!((&lock["name"], &lock["fencing_number"]), (&json!("stage:x"), &json!(1)));
        let holder = &lock["holder"];
        assert_eq!(
            (
                &holder["workflow_id"],
                &holder["status"],
                &holder["current_step"],
                &holder["step_id"]
            ),
            (&json!(first), &json!("paused"), &json!("approve"), &json!("plan"))
        );
        let order = [&ids[2], &ids[3], &ids[0], &ids[1]];
        for (n, id) in order.iter().enumerate() {
            let waiter = &lock["waiters"][n];
            assert_eq!((&waiter["workflow_id"], &waiter["position"]), (&json!(id), &json!(n + 1)));
            assert_eq!(waiter["urgent"], n < 2);
        }
        assert_eq!(world.resume(&first, json!({"approval_decision": "approved"})).await.0, 200);
        for id in order {
            world.wait_for(id, "paused").await;
            assert_eq!(world.resume(id, json!({"approval_decision": "approved"})).await.0, 200);
            world.wait_for(id, "completed").await;
        }
        // Agents were told the number of their run's turn.
        let numbers: Vec<u64> = agents
            .calls()
            .iter()
            .map(|call| call.command["locks"][0]["fencing_number"].as_u64().unwrap())
            .collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_eq!(numbers, sorted);
        assert_eq!(numbers, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        assert_eq!(world.get("/locks").await.1, json!({"locks": [], "count": 0}));
        world.stop().await;
    });
}

#[test]
fn a_lock_that_is_taken_away_goes_to_the_next_and_stands_in_the_record() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        let context = json!({"stage": "x"});
        let first = world.execute("holder", context.clone()).await;
        world.wait_for(&first, "paused").await;
        let second = world.execute("holder", context).await;
        waiting(&world, 1).await;
        let path = "/locks/stage:x/release";
        for (body, code) in [
            (json!({}), 422),
            (json!({"reason": "  "}), 422),
            (json!({"reason": "stuck", "workflow_id": second}), 404),
        ] {
            assert_eq!(world.post(path, &body).await.0, code, "{body}");
        }
        assert_eq!(world.post("/locks/unknown/release", &json!({"reason": "stuck"})).await.0, 404);
        let body =
            json!({"reason": "the approver is ill", "released_by": "ada", "request_id": "once"});
        let (code, answer) = world.post(path, &body).await;
        assert_eq!(code, 200, "{answer}");
        assert_eq!(
            answer,
            json!({"name": "stage:x", "workflow_id": first, "status": "paused", "handed_to": second})
        );
        // Asked again under the same name, nothing is taken from the new holder.
        assert_eq!(world.post(path, &body).await, (200, answer));
        world.wait_for(&second, "paused").await;
        let events = world.events(&first).await;
        let released =
            events.as_array().unwrap().iter().find(|event| event["action"] == "release_lock");
        assert_eq!(
            released.unwrap()["data"]["forced"],
            json!({"reason": "the approver is ill", "released_by": "ada"})
        );
        // The first run asks again when it needs the lock again.
        assert_eq!(world.resume(&first, json!({"approval_decision": "approved"})).await.0, 200);
        let shown = waiting(&world, 1).await;
        assert_eq!(shown["locks"][0]["waiters"][0]["workflow_id"], json!(first));
        assert_eq!(world.resume(&second, json!({"approval_decision": "rejected"})).await.0, 200);
        world.wait_for(&first, "completed").await;
        world.wait_for(&second, "failed").await;
        world.stop().await;
    });
}

#[test]
fn a_request_that_would_close_a_circle_fails_its_step() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        let holder = world.execute("holder", json!({"stage": "x"})).await;
        let late = world.execute("late", json!({})).await;
        world.wait_for(&holder, "paused").await;
        world.wait_for(&late, "paused").await;
        // As branches of one run leave it: one holds a lock while another waits.
        for statement in [
            "insert into locks (name, workflow_id, step, fencing_number, acquired_at) values ('y', $1, 'b', 1, now())",
            "insert into lock_waiters (name, workflow_id, step, requested_at) values ('y', $1, 'c', now())",
        ] {
            let id = if statement.contains("waiters") { &holder } else { &late };
            sqlx::query(statement).bind(id).execute(&world.pool).await.unwrap();
        }
        assert_eq!(world.resume(&late, json!({"approval_decision": "approved"})).await.0, 200);
        let state = world.wait_for(&late, "failed").await;
        assert_eq!(
            (&state["failure_reason"], &state["failed_step"]),
            (&json!("lock_deadlock"), &json!("act"))
        );
        let message = state["error_message"].as_str().unwrap();
        assert!(
            message.contains("'stage:x'") && message.contains(&format!("{holder}, {late}")),
            "{message}"
        );
        for statement in
            ["delete from lock_waiters where name = 'y'", "delete from locks where name = 'y'"]
        {
            sqlx::query(statement).execute(&world.pool).await.unwrap();
        }
        assert_eq!(world.resume(&holder, json!({"approval_decision": "approved"})).await.0, 200);
        world.wait_for(&holder, "completed").await;
        world.stop().await;
    });
}
