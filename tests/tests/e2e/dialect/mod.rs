//! The template language, end to end: templates that use every key and reach every virtual target are
//! run along every edge. The edges are computed from the templates, the scenarios are data, and what
//! was taken is read back from the recorded events.

mod board;
mod drive;
mod edges;
mod judge;
mod keys;
mod locks;
mod record;
mod scenario;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use sluice_engine::template::{self, ENDS, Template};
use sluice_tests::{World, run};

use board::Board;
use edges::{Edge, edges};
use scenario::Scenario;

/// The templates, by file name without suffix.
const TEMPLATES: [(&str, &str); 6] = [
    ("answer-question", include_str!("../../../templates/answer-question.workflow.yaml")),
    ("build-feature", include_str!("../../../templates/build-feature.workflow.yaml")),
    (
        "change-infrastructure",
        include_str!("../../../templates/change-infrastructure.workflow.yaml"),
    ),
    ("publish-docs", include_str!("../../../templates/publish-docs.workflow.yaml")),
    ("ship-pull-request", include_str!("../../../templates/ship-pull-request.workflow.yaml")),
    ("urgent-fix", include_str!("../../../templates/urgent-fix.workflow.yaml")),
];

/// The agents the templates name, and whether they have effects.
const AGENTS: [(&str, bool); 6] = [
    ("cicd", true),
    ("code-review", false),
    ("conversational", false),
    ("documentation", false),
    ("feature-dev", false),
    ("infrastructure", true),
];

fn load(name: &str, text: &str) -> Arc<Template> {
    let loaded = template::load(&format!("{name}.workflow.yaml"), text);
    let findings = loaded.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Arc::new(loaded.template.unwrap_or_else(|| panic!("{name} is refused:\n{findings}")))
}

fn templates() -> Vec<(&'static str, Arc<Template>)> {
    TEMPLATES.iter().map(|(name, text)| (*name, load(name, text))).collect()
}

#[test]
fn the_templates_use_every_key_and_word_of_the_language() {
    let unused = keys::unused(TEMPLATES.iter().map(|(_, text)| *text));
    assert!(unused.is_empty(), "no template uses {unused:#?}");
}

#[test]
fn the_templates_reach_every_virtual_target() {
    let targets: BTreeSet<String> = templates()
        .iter()
        .flat_map(|(_, template)| edges(template))
        .map(|edge| edge.target)
        .collect();
    let missing: Vec<_> = ENDS.iter().filter(|(name, _)| !targets.contains(*name)).collect();
    assert!(missing.is_empty(), "no template reaches {missing:?}");
}

#[test]
fn every_edge_is_taken_as_its_template_says() {
    run(async {
        let scenarios = scenario::all();
        let agents = scenario::agents(&scenarios).await;
        let world = TEMPLATES
            .iter()
            .fold(World::builder(), |world, (name, text)| world.template(name, text));
        let yaml = agents.yaml(&AGENTS)
            + &format!("providers:\n  spare:\n    base_url: {}\n", agents.llm_base_url());
        let world = world.agents(&yaml).llm(agents.llm_base_url()).start().await;
        let board = Board::start(world.pool.clone());
        let loaded = templates();
        let template = |scenario: &Scenario| {
            Arc::clone(&loaded.iter().find(|(name, _)| *name == scenario.template).unwrap().1)
        };
        let drives =
            scenarios.iter().map(|scenario| {
                let template = template(scenario);
                let (world, board) = (&world, &board);
                async move {
                    (scenario, drive::drive(world, board, &template, scenario).await, template)
                }
            });
        // Not all at once: a wait for a retry must not be mistaken for a busy machine.
        let runs: Vec<_> = futures::stream::iter(drives).buffer_unordered(24).collect().await;

        let mut problems = Vec::new();
        let mut taken = BTreeSet::new();
        for (scenario, driven, template) in &runs {
            let found = judge::judge(&agents, template, scenario, driven);
            problems.extend(found.into_iter().map(|problem| format!("{scenario}: {problem}")));
            taken.extend(driven.record.edges(template));
        }
        problems.extend(judge::lock_overlaps(runs.iter().map(|(_, driven, _)| &driven.record)));
        let all: BTreeSet<Edge> = loaded.iter().flat_map(|(_, template)| edges(template)).collect();
        problems.extend(all.difference(&taken).map(|edge| format!("no scenario takes {edge}")));
        problems.extend(taken.difference(&all).map(|edge| format!("no template has {edge}")));
        assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
        drop(board);
        world.stop().await;
    });
}
