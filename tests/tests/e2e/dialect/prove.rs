//! Runs every scenario of a suite, and compares the edges that were taken with those that there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use sluice_engine::template::{CircuitBreaker, Template};
use sluice_tests::World;
use sluice_tests::agents::Agents;

use super::board::Board;
use super::drive::{self, Driven};
use super::judge;
use super::scenario::{self, Scenario};
use super::suite::{Edge, Suite, edges};

/// What one scenario came to.
pub(super) struct Outcome<'s> {
    pub(super) scenario: &'s Scenario,
    pub(super) driven: Driven,
    pub(super) template: Arc<Template>,
}

/// Every run goes as its scenario says, and together they take every edge of the templates.
pub(super) async fn prove(suite: &Suite) {
    let scenarios = scenario::all(suite);
    let agents = scenario::agents(&scenarios).await;
    let world = world(suite, &agents).llm(agents.llm_base_url()).start().await;
    let runs = run_all(suite, &world, &scenarios).await;

    let mut problems = Vec::new();
    let mut taken = BTreeSet::new();
    for Outcome { scenario, driven, template } in &runs {
        let found = judge::judge(&agents, template, scenario, driven);
        problems.extend(found.into_iter().map(|problem| format!("{scenario}: {problem}")));
        taken.extend(driven.record.edges(template));
    }
    problems.extend(judge::lock_overlaps(runs.iter().map(|run| &run.driven.record)));
    let all: BTreeSet<Edge> =
        suite.load().iter().flat_map(|(_, template)| edges(template)).collect();
    problems.extend(all.difference(&taken).map(|edge| format!("no scenario takes {edge}")));
    problems.extend(taken.difference(&all).map(|edge| format!("no template has {edge}")));
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    world.stop().await;
}

/// Scenarios that fail run beside others of the same template: no breaker may open for those.
async fn forget_failures(world: &World) {
    let statements = [
        "create function forget() returns trigger language plpgsql as $$
         begin new.failures := 0; new.opened_at := null; return new; end $$",
        "create trigger forget before insert or update on breakers
         for each row execute function forget()",
    ];
    for statement in statements {
        sqlx::query(statement).execute(&world.pool).await.unwrap();
    }
}

/// An installation with the templates and agents of a suite; the model is left to the caller.
pub(super) fn world(suite: &Suite, agents: &Agents) -> sluice_tests::WorldBuilder {
    let world = suite
        .templates
        .iter()
        .fold(World::builder(), |world, (name, text)| world.template(name, text));
    let spare = format!("providers:\n  spare:\n    base_url: {}\n", agents.llm_base_url());
    world.agents(&(agents.yaml(suite.agents) + &spare))
}

/// Takes every scenario to its end.
pub(super) async fn run_all<'s>(
    suite: &Suite,
    world: &World,
    scenarios: impl IntoIterator<Item = &'s Scenario>,
) -> Vec<Outcome<'s>> {
    forget_failures(world).await;
    let board = Board::start(world.pool.clone());
    let loaded = suite.load();
    let template = |scenario: &Scenario| {
        let (_, template) = loaded.iter().find(|(name, _)| *name == scenario.template).unwrap();
        Arc::clone(template)
    };
    let drive = |scenario| {
        let (template, board) = (template(scenario), &board);
        async move {
            let driven = drive::drive(world, board, &template, scenario).await;
            Outcome { scenario, driven, template }
        }
    };
    let (alone, together): (Vec<_>, Vec<_>) =
        scenarios.into_iter().partition(|scenario| opens_a_breaker(&template(scenario), scenario));
    // Not all at once: a wait for a retry must not be mistaken for a busy machine.
    let together = futures::stream::iter(together.into_iter().map(drive)).buffer_unordered(24);
    // For a moment a breaker is open before it forgets.
    let alone = futures::stream::iter(alone.into_iter().map(drive)).buffered(1);
    together.chain(alone).collect().await
}

/// Whether a step with a sensitive breaker fails for good.
fn opens_a_breaker(template: &Template, scenario: &Scenario) -> bool {
    template.error_handling.iter().any(|(step, entry)| {
        let sensitive = |breaker: CircuitBreaker| breaker.enabled && breaker.failure_threshold < 5;
        let label = template.failure_label(step);
        entry.circuit_breaker.is_some_and(sensitive)
            && scenario.trace.iter().any(|line| line.starts_with(&format!("{step} {label} (")))
    })
}
