//! Runs every scenario of a suite, and compares the edges that were taken with those that there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use sluice_engine::template::Template;
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
    forget_failures(&world).await;
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
    let board = Board::start(world.pool.clone());
    let loaded = suite.load();
    let drives = scenarios.into_iter().map(|scenario| {
        let (_, template) = loaded.iter().find(|(name, _)| *name == scenario.template).unwrap();
        let (template, board) = (Arc::clone(template), &board);
        async move {
            let driven = drive::drive(world, board, &template, scenario).await;
            Outcome { scenario, driven, template }
        }
    });
    // Not all at once: a wait for a retry must not be mistaken for a busy machine.
    futures::stream::iter(drives).buffer_unordered(24).collect().await
}
