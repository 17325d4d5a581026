//! The project's own templates: along every edge, with a model and without one.

use std::path::Path;

use serde_json::{Value, json};
use sluice_engine::template::StepKind;
use sluice_tests::run;

use super::drive::Driven;
use super::prove::{Outcome, prove, run_all, world};
use super::suite::Suite;
use super::{judge, scenario};

pub(super) const OWN: Suite = Suite {
    templates: &[
        ("docs-update", include_str!("../../../../templates/docs-update.workflow.yaml")),
        ("feature", include_str!("../../../../templates/feature.workflow.yaml")),
        ("hotfix", include_str!("../../../../templates/hotfix.workflow.yaml")),
        ("infrastructure", include_str!("../../../../templates/infrastructure.workflow.yaml")),
        ("pr-deployment", include_str!("../../../../templates/pr-deployment.workflow.yaml")),
    ],
    agents: &[
        ("cicd", true),
        ("code-review", false),
        ("documentation", true),
        ("feature-dev", true),
        ("infrastructure", true),
        ("supervisor", false),
    ],
    scenarios: &[
        include_str!("scenarios/own/docs-update.yaml"),
        include_str!("scenarios/own/feature.yaml"),
        include_str!("scenarios/own/hotfix.yaml"),
        include_str!("scenarios/own/infrastructure.yaml"),
        include_str!("scenarios/own/pr-deployment.yaml"),
    ],
};

#[test]
fn every_template_of_the_project_is_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let mut names: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".workflow.yaml").map(str::to_owned)).collect();
    names.sort();
    assert_eq!(names, OWN.templates.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

/// What an agent has to deliver stands in its schema; the rest of what templates read comes from gates
/// (`path`), from people, and from failures (`error`).
#[test]
fn the_schemas_have_every_output_that_the_templates_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let agents: Value = serde_saphyr::from_str(&read("agents.yaml")).unwrap();
    let mut checked = 0;
    for ((name, text), (_, template)) in OWN.templates.iter().zip(OWN.load()) {
        for place in text.split("outputs.").skip(1) {
            let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            let mut path = place.split('.').map(|part| part.split(end).next().unwrap());
            let (step, key) = (path.next().unwrap(), path.next().unwrap_or_default());
            let StepKind::AgentCall(call) = &template.step(step).unwrap().kind else { continue };
            if ["path", "error"].contains(&key) {
                continue;
            }
            let schema = agents["agents"][call.agent.as_str()]["output_schema"].as_str().unwrap();
            let schema: Value = serde_json::from_str(&read(schema)).unwrap();
            let known = schema["properties"].get(key).is_some();
            assert!(known, "{name} reads {step}.{key}, which {} need not say", call.agent.as_str());
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn every_edge_of_the_projects_own_templates_is_taken() {
    run(prove(&OWN));
}

/// Where no answer of the model counted, having none leads to the same place.
#[test]
fn without_a_model_a_gate_that_needs_one_fails_as_if_it_had_not_answered() {
    run(async {
        let scenarios = scenario::all(&OWN);
        let silent: Vec<_> =
            scenarios.iter().filter(|scenario| scenario.needs_no_answer()).collect();
        let agents = scenario::agents(&scenarios).await;
        let world = world(&OWN, &agents).start().await;
        let runs = run_all(&OWN, &world, silent).await;

        let mut gates: Vec<(String, String)> = Vec::new();
        for Outcome { scenario, driven, template } in &runs {
            let Driven { record, state, trouble, .. } = driven;
            assert_eq!(*trouble, None, "{scenario}");
            // The same edges, though a risk that nobody could assess says why.
            let trace = record.trace(template).join("\n").replace("(no_model)", "(gate_error)");
            assert_eq!(trace, scenario.trace.join("\n"), "{scenario}");
            assert_eq!(state["status"], scenario.status, "{scenario}");
            let failed =
                record.of("fail_step").filter(|event| event["data"]["error_type"] == "gate_error");
            for event in failed {
                let error = event["data"]["error"].as_str().unwrap();
                assert!(error.contains("no model"), "{scenario}: {error}");
                let step = event["step_id"].as_str().unwrap().to_owned();
                gates.push((scenario.template.clone(), step));
            }
        }
        assert_eq!(agents.prompts(), [json!(null); 0], "there is nobody to ask");
        assert_eq!(judge::lock_overlaps(runs.iter().map(|run| &run.driven.record)), [""; 0]);
        let unanswered = OWN.load().into_iter().flat_map(|(name, template)| {
            let edges = template.edges().into_iter().filter(|edge| edge.label == "gate_error");
            edges.map(move |edge| (name.to_owned(), edge.step)).collect::<Vec<_>>()
        });
        for gate in unanswered {
            assert!(gates.contains(&gate), "no scenario leaves {gate:?} without an answer");
        }
        world.stop().await;
    });
}
