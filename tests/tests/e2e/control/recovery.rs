//! Tiers of recovery with real agents: what one run learned helps the next, and another agent is asked why.

use serde_json::{Value, json};
use sluice_tests::agents::{Agents, Call};
use sluice_tests::{World, run};

const STUBBORN: &str = r#"
name: Stubborn
version: "1.0"
description: Does not give up at once.
steps:
  - {id: build, type: agent_call, agent: cicd, resource_lock: site, payload: {action: build}}
error_handling:
  - {step: build, max_retries: 1, recovery_tier: TIER_3, escalation_path: [hitl, supervisor]}
"#;
const FIX: &str = "emptied the cache";

/// Works once it knows the cause, or what helped before.
fn answer(call: &Call) -> (u16, Value) {
    let recovery = &call.command["recovery"];
    match call.agent.as_str() {
        "supervisor" => {
            (200, json!({"cause": format!("no room for {}", call.command["payload"]["error"])}))
        }
        _ if recovery["diagnosis"].is_object() => (200, json!({"fix": FIX})),
        _ if recovery["fix"] == FIX => (200, json!({"ok": true})),
        _ => (503, json!({"error": {"message": format!("disk {} is full", call.attempt())}})),
    }
}

async fn lessons(world: &World) -> Vec<(String, String, i64, i64, Option<String>)> {
    sqlx::query_as(
        "select agent, signature, failures, recovered, fix from lessons order by updated_at desc limit 1",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap()
}

#[test]
fn a_run_learns_from_a_diagnosis_and_the_next_from_the_run() {
    run(async {
        let agents = Agents::start(answer).await;
        let yaml = agents.yaml(&[("cicd", true), ("supervisor", false)]);
        let world = World::builder().template("stubborn", STUBBORN).agents(&yaml);
        let mut world = world.coordinators(2).start().await;
        let id = world.execute("stubborn", json!({})).await;
        world.wait_for(&id, "completed").await;
        let steps = |calls: &[Call]| -> Vec<(String, u64)> {
            calls.iter().map(|call| (call.step().to_owned(), call.attempt())).collect()
        };
        let calls = agents.calls();
        let call = |step: &str, attempt| (step.to_owned(), attempt);
        assert_eq!(
            steps(&calls),
            [call("build", 1), call("build", 2), call("build.diagnose", 2), call("build", 3)]
        );
        assert_eq!(calls[0].command.get("recovery"), None);
        assert_eq!(calls[1].command["recovery"]["tier"], 1);
        assert_eq!(calls[1].command["recovery"]["error"], "disk 1 is full");
        assert_eq!(
            (&calls[2].command["kind"], &calls[2].command["locks"][0]["name"]),
            (&json!("diagnose"), &json!("site"))
        );
        assert_eq!(calls[2].command["payload"]["action"], "diagnose");
        assert_eq!(calls[3].command["recovery"]["tier"], 3);
        let cause = &calls[3].command["recovery"]["diagnosis"]["cause"];
        assert_eq!(cause, "no room for \"disk 2 is full\"");
        let learned = |failures, recovered| {
            let signature = "http_503: disk # is full".to_owned();
            [("cicd".to_owned(), signature, failures, recovered, Some(FIX.to_owned()))]
        };
        assert_eq!(lessons(&world).await, learned(2, 1));

        // Whatever else is remembered of the agent is bounded.
        let older =
            "insert into lessons select 'cicd', 'older ' || n, 1, 0, null, now() - interval '1 day'
                       from generate_series(1, 600) as n";
        sqlx::query(older).execute(&world.pool).await.unwrap();
        // A coordinator that was not there knows it, too.
        world.stop_coordinators().await;
        world.start_coordinator().await;
        let id = loop {
            let body = json!({"template_name": "stubborn", "context": {}});
            match world.post("/workflow/execute", &body).await {
                (200, started) => break started["workflow_id"].as_str().unwrap().to_owned(),
                (503, _) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                other => panic!("{other:?}"),
            }
        };
        world.wait_for(&id, "completed").await;
        let calls = agents.calls().split_off(4);
        assert_eq!(steps(&calls), [call("build", 1), call("build", 2)], "nobody had to be asked");
        let recovery = &calls[1].command["recovery"];
        assert_eq!(
            [&recovery["tier"], &recovery["failures"], &recovery["recovered"], &recovery["fix"]],
            [&json!(2), &json!(2), &json!(1), &json!(FIX)]
        );
        assert_eq!(lessons(&world).await, learned(3, 2));
        let kept: i64 = sqlx::query_scalar("select count(*) from lessons where agent = 'cicd'")
            .fetch_one(&world.pool)
            .await
            .unwrap();
        assert_eq!(kept, 500);
        world.stop().await;
    });
}
