//! What a run waits for, in one sentence.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

const HOLDER: &str = r#"
name: Holder
version: "1.0"
description: Holds a lock over an approval.
steps:
  - {id: plan, type: agent_call, agent: reader, resource_lock: stage, lock_wait: 1h, on_success: approve}
  - {id: approve, type: hitl_approval, risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}, on_approved: apply, on_rejected: workflow_failed}
  - {id: apply, type: agent_call, agent: reader, resource_lock: stage, on_success: workflow_complete}
"#;

fn one_step(agent: &str) -> String {
    format!(
        "name: One\nversion: \"1.0\"\ndescription: One step.\nsteps:\n  \
         - {{id: only, type: agent_call, agent: {agent}, on_success: workflow_complete}}\n"
    )
}

/// Asks until the first wait is of this kind.
async fn why(world: &World, id: &str, kind: &str) -> (Value, String) {
    let until = std::time::Instant::now() + sluice_tests::PATIENCE;
    loop {
        let (code, answer) = world.get(&format!("/workflow/{id}/why")).await;
        assert_eq!(code, 200, "{answer}");
        if answer["waits"][0]["kind"] == kind {
            let sentence = answer["sentence"].as_str().unwrap().to_owned();
            return (answer["waits"][0].clone(), sentence);
        }
        assert!(std::time::Instant::now() < until, "never {kind}: {answer:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn assert_says(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "no '{part}': {sentence}");
    }
}

#[test]
fn every_wait_has_a_sentence() {
    run(async {
        let agents = Agents::start(|call| match call.agent.as_str() {
            "flaky" => (503, json!({})),
            _ => (200, json!({"ok": true})),
        })
        .await;
        // It is at work until somebody has seen it.
        agents.hold("only");
        let yaml = agents.yaml(&[("reader", false), ("flaky", false), ("slow", true)]);
        let world = World::builder()
            .template("holder", HOLDER)
            .template("slow", &one_step("slow"))
            .template("flaky", &one_step("flaky"))
            .template("outside", &one_step("outside"))
            .agents(&format!("{yaml}  outside:\n    runtime: external\n"))
            .start()
            .await;
        assert_eq!(world.get("/workflow/nobody/why").await.0, 404);

        let first = world.execute("holder", json!({})).await;
        let (wait, sentence) = why(&world, &first, "approval").await;
        assert_says(
            &sentence,
            &["step 'approve' waits for a tech_lead to decide (medium risk)", "since"],
        );
        assert_eq!(
            (&wait["approver_role"], &wait["step_id"]),
            (&json!("tech_lead"), &json!("approve"))
        );
        assert_says(wait["who"].as_str().unwrap(), &[&format!("`sluice resume {first}`")]);

        let second = world.execute("holder", json!({})).await;
        let (wait, sentence) = why(&world, &second, "lock").await;
        let holds = format!("{first} holds it since");
        assert_says(
            &sentence,
            &["lock 'stage'", "1st in the queue", "at most until", &holds, "(paused at approve)"],
        );
        assert_eq!((&wait["holder"], &wait["position"]), (&json!(first), &json!(1)));

        let slow = world.execute("slow", json!({})).await;
        let (wait, sentence) = why(&world, &slow, "worker").await;
        assert_says(
            &sentence,
            &["agent 'slow' works at 'only' (attempt 1) on worker 'worker'", "given up at"],
        );
        assert_eq!((&wait["worker"], &wait["agent"]), (&json!("worker"), &json!("slow")));
        agents.release("only");

        let flaky = world.execute("flaky", json!({})).await;
        let (wait, sentence) = why(&world, &flaky, "retry").await;
        assert_says(&sentence, &["of 'only' is due at"]);
        assert!(wait["until"].is_string());

        let outside = world.execute("outside", json!({})).await;
        let later = world.execute("outside", json!({})).await;
        let (_, sentence) = why(&world, &outside, "queue").await;
        assert_says(&sentence, &["no worker is known to run agent 'outside'", "1st in the queue"]);
        let (wait, _) = why(&world, &later, "queue").await;
        assert_eq!(wait["position"], 2);
        assert_says(wait["who"].as_str().unwrap(), &["`sluice worker --agents outside`"]);

        world.wait_for(&slow, "completed").await;
        let (_, sentence) = why(&world, &slow, "ended").await;
        assert_says(&sentence, &["the run ended as completed at"]);
        for id in [&first, &second] {
            world.wait_for(id, "paused").await;
            assert_eq!(world.resume(id, json!({"approval_decision": "rejected"})).await.0, 200);
            world.wait_for(id, "failed").await;
        }
        let (_, sentence) = why(&world, &first, "ended").await;
        assert_says(&sentence, &["ended as failed", "step 'approve'"]);
        world.stop().await;
    });
}
