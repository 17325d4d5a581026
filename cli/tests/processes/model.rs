//! A model beside the example's agents: it is asked at each gate where no rule applies, at no other,
//! and what it answers stands in the outputs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use rustix::process::Signal;
use serde_json::{Value, json};
use sluice_tests::run;

use super::shop::{LIMIT, PULL_REQUEST, approve, begin, pull_request, start_with};
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::site::Api;

/// A gate, the beginning of its question, and what the model says there.
struct Gate {
    template: &'static str,
    step: &'static str,
    question: &'static str,
    answer: fn() -> Value,
}

/// Every gate of the runs below that may ask.
const GATES: [Gate; 9] = [
    Gate {
        template: PULL_REQUEST,
        step: "code_review",
        question: "May pull request ",
        answer: || json!({"decision": "proceed", "reasoning": "the concern is none"}),
    },
    Gate {
        template: PULL_REQUEST,
        step: "approval_gate",
        question: "How risky is it to deploy pull request ",
        answer: || json!({"risk_level": "high", "approver_role": "devops_engineer", "reasoning": "air"}),
    },
    Gate {
        template: PULL_REQUEST,
        step: "deploy_production",
        question: "Keep this release in production",
        answer: || json!({"decision": "rollback", "reasoning": "nobody should have asked"}),
    },
    Gate {
        template: "feature",
        step: "analyze_requirements",
        question: "Which way should this feature take?",
        answer: || json!({"path": "Code-Only", "reasoning": "a wish in another script"}),
    },
    Gate {
        template: "feature",
        step: "code_review",
        question: "Is this implementation good enough",
        answer: || json!({"decision": "proceed", "reasoning": "it is"}),
    },
    Gate {
        template: "feature",
        step: "approval_gate",
        question: "How risky is it to merge this?",
        answer: || json!({"risk_level": "low", "reasoning": "nobody should have asked"}),
    },
    Gate {
        template: "hotfix",
        step: "validate_hotfix",
        question: "qualify as a hotfix",
        answer: || json!({"decision": "block", "reasoning": "settings are no emergency"}),
    },
    Gate {
        template: "hotfix",
        step: "security_review",
        question: "May this hotfix go to production now",
        answer: || json!({"decision": "proceed", "reasoning": "safe enough"}),
    },
    Gate {
        template: "hotfix",
        step: "smoke_tests",
        question: "Keep the hotfix in production",
        answer: || json!({"decision": "rollback", "reasoning": "nobody should have asked"}),
    },
];

type Asked = Arc<Mutex<Vec<String>>>;

/// Answers as the table says; asked by the reviewer, it has a concern about every change.
async fn model(State(asked): State<Asked>, Json(request): Json<Value>) -> Json<Value> {
    let messages = request["messages"].to_string();
    let gate = GATES.iter().find(|gate| messages.contains(gate.question));
    let answer = match gate {
        Some(gate) => {
            asked.lock().unwrap().push(format!("{} {}", gate.template, gate.step));
            (gate.answer)()
        }
        None => json!({"summary": "nearly", "concerns": ["wraps air"]}),
    };
    Json(json!({"choices": [{"message": {"role": "assistant", "content": answer.to_string()}}]}))
}

/// The gates at which a run's record says that a model decided.
async fn decided_by_a_model(api: &Api, template: &str, id: &str) -> BTreeSet<String> {
    let (_, history) = api.get(&format!("/workflow/{id}/events?limit=1000")).await.unwrap();
    let events = history["events"].as_array().unwrap().iter();
    let by_model = events.filter(|event| {
        let data = &event["data"];
        let by = [&data["decided_by"], &data["risk_assessment"]["decided_by"]];
        by.into_iter().any(|by| by == "model")
    });
    by_model.map(|event| format!("{template} {}", event["step_id"].as_str().unwrap())).collect()
}

#[test]
fn a_configured_model_is_asked_at_each_gate_without_a_matching_rule() {
    run(async {
        let folder = Folder::new("model");
        let asked = Asked::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let service = Router::new().route("/v1/chat/completions", post(model));
        let service = service.with_state(Arc::clone(&asked));
        let server = tokio::spawn(async move { axum::serve(listener, service).await });
        let env = [("SLUICE_LLM_BASE_URL", url), ("SLUICE_LLM_MODEL", "scripted".to_owned())];
        let (_shop, dev) = start_with(&folder, &env).await;
        let api = &dev.api;

        begin(api, PULL_REQUEST, "pr", pull_request(1, "feature/gift-wrap")).await;
        let wish = json!({"task_description": "贈り物", "branch": "feature/bulk-discount"});
        begin(api, "feature", "wish", wish).await;
        begin(api, "hotfix", "settings", pull_request(2, "feature/country-tax")).await;
        begin(api, "hotfix", "urgent", pull_request(3, "hotfix/quantity")).await;

        let paused = api.wait_for("pr", "paused", LIMIT).await;
        let concerns = &paused["outputs"]["code_review"]["model_review"]["concerns"];
        assert_eq!(*concerns, json!(["wraps air"]), "{paused:#}");
        let approval = &paused["pending_approval"];
        for (field, said) in (GATES[1].answer)().as_object().unwrap() {
            assert_eq!(approval[field], *said, "{approval:#}");
        }
        approve(api, "pr").await;
        let ends = [
            (PULL_REQUEST, "pr", "completed"),
            // Its own test fails, after the model let it pass.
            ("feature", "wish", "failed"),
            ("hotfix", "settings", "failed"),
            ("hotfix", "urgent", "completed"),
        ];
        let mut decided = BTreeSet::new();
        for (template, id, status) in ends {
            let state = api.wait_for(id, status, LIMIT).await;
            let here = decided_by_a_model(api, template, id).await;
            for gate in GATES.iter().filter(|gate| gate.template == template) {
                let output = &state["outputs"][gate.step]["reasoning"];
                let said = (gate.answer)()["reasoning"].clone();
                let by_model = here.contains(&format!("{template} {}", gate.step));
                assert_eq!(*output == said, by_model, "{id}: {} says {output}", gate.step);
            }
            decided.extend(here);
        }
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        let expected = [
            "feature analyze_requirements",
            "feature code_review",
            "hotfix security_review",
            "hotfix validate_hotfix",
            "pr-deployment approval_gate",
            "pr-deployment code_review",
        ];
        assert_eq!(asked, expected, "each once");
        assert_eq!(decided.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        let blocked = api.wait_for("settings", "failed", LIMIT).await;
        assert_eq!(blocked["error_message"], "settings are no emergency", "{blocked:#}");
        assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
        server.abort();
    });
}
