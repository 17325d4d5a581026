//! Models that answer anything but the question, and no model at all.

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

use super::{GOOD, assert_alive};

const GATED: &str = r#"
name: Gated
version: "1.0"
description: A model decides, or a rule.
steps:
  - id: look
    type: agent_call
    agent: good
    decision_gate:
      type: llm_assessment
      prompt: "[{{ context.case }}] May it go on?"
      rules:
        - {when: context.rule == true, answer: {decision: proceed}}
      on_proceed: after
      on_block: notify_failure
  - {id: after, type: agent_call, agent: good, on_success: workflow_complete}
"#;

const RISKY: &str = r#"
name: Risky
version: "1.0"
description: Low risk needs nobody.
steps:
  - id: ask
    type: hitl_approval
    risk_assessment:
      type: llm_assessment
      prompt: "[{{ context.case }}] How risky is it?"
    on_auto_approved: workflow_complete
    on_approved: workflow_complete
    on_rejected: notify_failure
"#;

async fn world(agents: &Agents, with_model: bool) -> World {
    let world =
        World::builder().template("good", GOOD).template("gated", GATED).template("risky", RISKY);
    let world = world.agents(&agents.yaml(&[("good", false)]));
    if with_model { world.llm(agents.llm_base_url()).start().await } else { world.start().await }
}

fn questions(agents: &Agents, case: &str) -> usize {
    let needle = format!("[{case}]");
    agents
        .prompts()
        .iter()
        .filter(|prompt| prompt["messages"].to_string().contains(&needle))
        .count()
}

#[test]
fn an_answer_is_found_in_what_surrounds_it() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents, true).await;
        let cases: [(&str, Value); 7] = [
            ("bare", json!({"decision": "proceed"})),
            ("fenced", json!("Sure!\n```json\n{\"decision\": \"proceed\"}\n```\nAnything else?")),
            ("in-prose", json!("I think {\"decision\": \"proceed\"} is right.")),
            (
                "nested",
                json!({"reasons": [{"decision": "block"}], "meta": {"decision": "block"}, "decision": "proceed"}),
            ),
            ("braces", json!("{\"why\": \"a } and a { and \\\"\", \"decision\": \"proceed\"}")),
            ("spelled", json!({"decision": " PROCEED "})),
            (
                "thinking",
                json!("<think>{\"decision\": \"block\"}</think>{\"decision\": \"proceed\"}"),
            ),
        ];
        for (case, text) in &cases {
            agents.answer(&format!("[{case}]"), std::slice::from_ref(text));
        }
        let ids = cases
            .iter()
            .map(|(case, _)| world.execute("gated", json!({"case": case, "rule": false})));
        for ((case, _), id) in cases.iter().zip(futures::future::join_all(ids).await) {
            world.wait_for(&id, "completed").await;
            assert_eq!(questions(&agents, case), 1, "{case}");
        }
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn an_answer_that_names_no_way_never_means_proceed() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents, true).await;
        let texts: [(&str, Value); 11] = [
            ("prose", json!("Yes, proceed by all means.")),
            ("empty", json!("")),
            ("half", json!("{\"decision\": \"proceed\"")),
            ("list", json!([{"decision": "proceed"}, {"decision": "block"}])),
            ("undeclared", json!({"decision": "ship it"})),
            ("no-key", json!({"verdict": true})),
            ("null", json!({"decision": null})),
            ("deeper", json!({"answer": {"decision": "proceed"}})),
            ("in-a-list", json!({"decision": ["proceed"]})),
            ("two-ways", json!({"one": "proceed", "two": "block"})),
            ("only-thoughts", json!("<think>{\"decision\": \"proceed\"}")),
        ];
        for (case, text) in &texts {
            agents.answer(&format!("[{case}]"), std::slice::from_ref(text));
        }
        let bodies = [
            ("html", 200, "<html>{\"decision\": \"proceed\"}</html>"),
            ("no-choices", 200, "{\"choices\": []}"),
            (
                "own-error",
                200,
                "{\"error\": {\"code\": 401, \"message\": \"{\\\"decision\\\": \\\"proceed\\\"}\"}}",
            ),
            ("unauthorised", 401, "{\"error\": {\"message\": \"no such key\"}}"),
        ];
        for (case, status, body) in bodies {
            agents.answer_raw(&format!("[{case}]"), status, body);
        }
        let cases: Vec<&str> = texts
            .iter()
            .map(|(case, _)| *case)
            .chain(bodies.iter().map(|(case, ..)| *case))
            .collect();
        let ids =
            cases.iter().map(|case| world.execute("gated", json!({"case": case, "rule": false})));
        for (case, id) in cases.iter().zip(futures::future::join_all(ids).await) {
            let state = world.wait_for(&id, "failed").await;
            assert_eq!(state["failure_reason"], "gate_error", "{case}: {}", state["error_message"]);
            assert_eq!(state["failed_step"], "look", "{case}");
            assert_eq!(
                state["step_statuses"],
                json!({"look": "failed", "after": "skipped"}),
                "{case}"
            );
            assert_eq!(questions(&agents, case), 1, "{case}");
        }
        assert!(
            agents.calls().iter().all(|call| call.step() == "look"),
            "the agent's call is not repeated"
        );
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn a_model_that_is_down_is_asked_again_and_then_the_gate_fails() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents, true).await;
        agents.answer_raw("[down]", 500, "oops");
        agents.answer_raw("[risk]", 500, "oops");
        let ids = [
            world.execute("gated", json!({"case": "down", "rule": false})).await,
            world.execute("risky", json!({"case": "risk"})).await,
        ];
        let state = world.wait_for(&ids[0], "failed").await;
        assert_eq!(state["failure_reason"], "gate_error");
        assert!(
            state["error_message"].as_str().unwrap().contains("500"),
            "{}",
            state["error_message"]
        );
        assert_eq!(questions(&agents, "down"), 3);
        assert_eq!(agents.calls().len(), 1, "only the gate is repeated");
        let state = world.wait_for(&ids[1], "paused").await;
        assert_eq!(
            state["pending_approval"]["risk_level"], "high",
            "what nobody could assess is not low"
        );
        world.resume(&ids[1], json!({"approval_decision": "rejected"})).await;
        world.wait_for(&ids[1], "failed").await;
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn without_a_model_gates_fail_and_rules_work() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents, false).await;
        let id = world.execute("gated", json!({"case": "none", "rule": false})).await;
        let state = world.wait_for(&id, "failed").await;
        assert_eq!(state["failure_reason"], "gate_error");
        let message = state["error_message"].as_str().unwrap();
        assert!(
            message.contains("no model is configured") && message.contains("SLUICE_LLM_BASE_URL"),
            "{message}"
        );
        assert_eq!(state["step_statuses"]["after"], "skipped");

        let id = world.execute("risky", json!({"case": "none"})).await;
        let state = world.wait_for(&id, "paused").await;
        assert_eq!(state["pending_approval"]["risk_level"], "high");
        assert_eq!(world.resume(&id, json!({"approval_decision": "approved"})).await.0, 200);
        world.wait_for(&id, "completed").await;

        let id = world.execute("gated", json!({"case": "none", "rule": true})).await;
        world.wait_for(&id, "completed").await;
        assert!(agents.prompts().is_empty());
        world.stop().await;
    });
}
