//! A lock stays with its run while people decide; whoever comes later waits its turn.

use serde_json::json;
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

use super::DIALECT;
use super::board::Board;

#[test]
fn a_lock_is_kept_while_people_decide() {
    run(async {
        let agents = Agents::agreeable().await;
        agents.answer(
            "How risky is this plan",
            &[json!({"risk_level": "high", "approver_role": "devops_engineer"})],
        );
        agents.answer("Did it work?", &[json!({"decision": "success"})]);
        let (name, text) =
            DIALECT.templates.iter().find(|(name, _)| *name == "change-infrastructure").unwrap();
        let world = World::builder().template(name, text).agents(&agents.yaml(DIALECT.agents));
        let world = world.llm(agents.llm_base_url()).start().await;
        let board = Board::start(world.pool.clone());
        let context =
            |change: &str| json!({"ref": change, "environment": "staging", "change": change});

        let first = world.execute(name, context("first")).await;
        world.wait_for(&first, "paused").await;
        let mut waiting = Vec::new();
        for change in ["second", "third"] {
            let id = world.execute(name, context(change)).await;
            board.wait(&id, |standing| standing.sequence >= 2).await.unwrap();
            let state = world.status(&id).await;
            assert_eq!(state["status"], "running");
            assert_eq!(state["waiting_for_lock"], "infrastructure:staging");
            waiting.push(id);
        }
        let elsewhere =
            world.execute(name, json!({"ref": "other", "environment": "production"})).await;
        world.wait_for(&elsewhere, "paused").await;
        assert_eq!(world.status(&first).await["locks"], json!(["infrastructure:staging"]));
        assert_eq!(agents.calls().len(), 2, "nobody plans against a state that is about to change");

        for id in [&first, &waiting[0], &waiting[1], &elsewhere] {
            world.wait_for(id, "paused").await;
            let (status, answer) = world.resume(id, json!({"approval_decision": "approved"})).await;
            assert_eq!(status, 200, "{answer}");
            world.wait_for(id, "completed").await;
        }
        let plans =
            agents.calls().into_iter().filter(|call| call.command["payload"]["action"] == "plan");
        let changes: Vec<_> = plans.map(|call| call.command["payload"]["change"].clone()).collect();
        assert_eq!(
            changes,
            [json!("first"), json!(null), json!("second"), json!("third")],
            "first come, first served"
        );
        drop(board);
        world.stop().await;
    });
}
