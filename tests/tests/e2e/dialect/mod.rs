//! The template language, end to end: templates that use every key and reach every virtual target are
//! run along every edge. The edges are computed from the templates, the scenarios are data, and what
//! was taken is read back from the recorded events.

mod board;
mod drive;
mod judge;
mod keys;
mod locks;
mod mishaps;
mod own;
mod prove;
mod record;
mod reference;
mod scenario;
mod suite;

use std::collections::BTreeSet;

use sluice_engine::template::ENDS;
use sluice_tests::run;

use suite::{Suite, edges};

/// Templates that exist for this test.
const DIALECT: Suite = Suite {
    templates: &[
        ("answer-question", include_str!("../../../templates/answer-question.workflow.yaml")),
        ("build-feature", include_str!("../../../templates/build-feature.workflow.yaml")),
        (
            "change-infrastructure",
            include_str!("../../../templates/change-infrastructure.workflow.yaml"),
        ),
        ("check-everything", include_str!("../../../templates/check-everything.workflow.yaml")),
        ("follow-up", include_str!("../../../templates/follow-up.workflow.yaml")),
        ("hand-over", include_str!("../../../templates/hand-over.workflow.yaml")),
        ("publish-docs", include_str!("../../../templates/publish-docs.workflow.yaml")),
        ("roll-out", include_str!("../../../templates/roll-out.workflow.yaml")),
        ("ship-pull-request", include_str!("../../../templates/ship-pull-request.workflow.yaml")),
        ("urgent-fix", include_str!("../../../templates/urgent-fix.workflow.yaml")),
    ],
    agents: &[
        ("cicd", true),
        ("code-review", false),
        ("conversational", false),
        ("documentation", false),
        ("feature-dev", false),
        ("infrastructure", true),
    ],
    scenarios: &[
        include_str!("scenarios/answer-question.yaml"),
        include_str!("scenarios/build-feature.yaml"),
        include_str!("scenarios/change-infrastructure.yaml"),
        include_str!("scenarios/check-everything.yaml"),
        include_str!("scenarios/follow-up.yaml"),
        include_str!("scenarios/hand-over.yaml"),
        include_str!("scenarios/publish-docs.yaml"),
        include_str!("scenarios/roll-out.yaml"),
        include_str!("scenarios/ship-pull-request.yaml"),
        include_str!("scenarios/urgent-fix.yaml"),
    ],
};

#[test]
fn the_templates_use_every_key_and_word_of_the_language() {
    let unused = keys::unused(DIALECT.templates.iter().map(|(_, text)| *text));
    assert!(unused.is_empty(), "no template uses {unused:#?}");
}

#[test]
fn the_templates_reach_every_virtual_target() {
    let targets: BTreeSet<String> = DIALECT
        .load()
        .iter()
        .flat_map(|(_, template)| edges(template))
        .map(|edge| edge.target)
        .collect();
    let missing: Vec<_> = ENDS.iter().filter(|(name, _)| !targets.contains(*name)).collect();
    assert!(missing.is_empty(), "no template reaches {missing:?}");
}

#[test]
fn every_edge_is_taken_as_its_template_says() {
    run(prove::prove(&DIALECT));
}
