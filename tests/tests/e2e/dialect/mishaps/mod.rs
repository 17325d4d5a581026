//! Every step has its mishaps: its agent fails once, takes too long once, the model it asks fails once,
//! and all it has others do is handed out twice. What then becomes of the run is what its template
//! declares, and is computed from the text of the template and from the scenarios of its edges.
//!
//! Each mishap has a copy of its template to itself, with locks of its own: runs share breakers and locks
//! with nobody, so that none has to wait for another or is refused for it.

mod copies;
mod declared;

use std::time::Instant;

use futures::StreamExt;
use sluice_engine::template::StepKind;
use sluice_tests::run;

use super::DIALECT;
use super::board::Board;
use super::drive::{Driven, drive};
use super::judge;
use super::own::OWN;
use super::prove::world;
use super::scenario;
use super::suite::{Suite, edges};
use declared::{Kind, Mishap};

/// Runs at once. Other tests run beside this one, and a run that waits costs nothing.
const AT_ONCE: usize = 12;

#[test]
fn every_step_of_the_projects_own_templates_fails_once_times_out_once_and_is_run_twice() {
    run(suffer(&OWN));
}

#[test]
fn every_step_of_the_test_templates_fails_once_times_out_once_and_is_run_twice() {
    run(suffer(&DIALECT));
}

#[expect(clippy::print_stdout, reason = "shows its numbers when asked")]
async fn suffer(suite: &Suite) {
    let begun = Instant::now();
    let mishaps = declared::all(suite);
    assert_covers_every_step(suite, &mishaps);
    let agents = scenario::agents(mishaps.iter().map(|mishap| &mishap.scenario)).await;
    // The templates themselves are there for the steps that start one.
    let world = world(suite, &agents);
    let world = mishaps
        .iter()
        .fold(world, |world, mishap| world.template(&mishap.scenario.template, &mishap.text));
    let world = world.llm(agents.llm_base_url()).workers(2).start().await;
    let copied = copies::publish_all_twice(&world, &mishaps).await;
    let board = Board::start(world.pool.clone());
    let drives = mishaps.iter().map(async |mishap| {
        (mishap, drive(&world, &board, &mishap.template, &mishap.scenario).await)
    });
    let driven: Vec<_> = futures::stream::iter(drives).buffer_unordered(AT_ONCE).collect().await;
    copies::all_taken(&world, suite).await;
    drop(board);
    let copied = copied.published();
    let mut problems: Vec<String> = Vec::new();
    for (mishap, driven) in &driven {
        let found = match mishap.kind {
            Kind::Twice => {
                let mut found = judge::judge_run(&mishap.template, &mishap.scenario, driven);
                found.extend(copies::wrong_calls(suite, &agents, mishap, driven, &copied));
                found
            }
            _ => judge::judge(&agents, &mishap.template, &mishap.scenario, driven),
        };
        let found = found.into_iter().chain(unknown_edges(mishap, driven));
        problems.extend(found.map(|problem| format!("{mishap}: {problem}")));
    }
    println!("{} mishaps, {} copies, {:?}", mishaps.len(), copied.len(), begun.elapsed());
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    world.stop().await;
}

/// No step that others do something for is left out.
fn assert_covers_every_step(suite: &Suite, mishaps: &[Mishap]) {
    for (name, template) in suite.load() {
        for step in template.steps.values() {
            let kinds: &[Kind] = match &step.kind {
                StepKind::AgentCall(_) => &[Kind::Fails, Kind::TimesOut, Kind::Twice],
                StepKind::Approval(_) | StepKind::Notification(_) => &[Kind::Twice],
                // Nobody but the engine has a part in these.
                _ => &[],
            };
            for kind in kinds {
                let has = |mishap: &&Mishap| {
                    mishap.of == name && mishap.step == step.id && mishap.kind == *kind
                };
                assert!(
                    mishaps.iter().any(|m| has(&m)),
                    "{kind:?} of {} in {name} is missing",
                    step.id
                );
            }
        }
    }
}

fn unknown_edges(mishap: &Mishap, driven: &Driven) -> Option<String> {
    let taken = driven.record.edges(&mishap.template);
    let all = edges(&mishap.template);
    let unknown: Vec<String> = taken.difference(&all).map(ToString::to_string).collect();
    (!unknown.is_empty()).then(|| format!("edges that the template does not have: {unknown:?}"))
}
