//! Workers by name: killed and started anew, frozen, and two of one name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use sluice_tests::processes::agents::{Agents, Answer};
use sluice_tests::processes::process::Process;
use sluice_tests::processes::record;
use sluice_tests::processes::site::{LEASE, Site};
use sluice_tests::run;

const LIMIT: Duration = Duration::from_secs(60);
/// Runs of each template.
const RUNS: usize = 8;
/// Far longer than anything here takes: what ends sooner did not wait for it.
const LONG_LEASE: Duration = Duration::from_secs(60);

fn one_step(agent: &str) -> String {
    format!(
        "name: One step\nversion: \"1.0\"\ndescription: One step of one agent.\nsteps:\n  \
         - {{id: only, type: agent_call, agent: {agent}, on_success: workflow_complete}}\n"
    )
}

async fn site(name: &str, agents: &Agents, lease: Duration) -> (Site, [Process; 2]) {
    let mut site = Site::shared(name).await;
    for agent in ["reader", "settler", "actor"] {
        site.template(agent, &one_step(agent));
    }
    site.agents(&agents.yaml(&[
        ("reader", "effects: false"),
        ("settler", "effects: true, idempotent: true"),
        ("actor", "effects: true, idempotent: false"),
    ]));
    let lease = ("SLUICE_LEASE", format!("{}s", lease.as_secs()));
    let mut coordinator = site.start_with("coordinator", &["coordinator"], &[lease]);
    coordinator.says("coordinator is ready").await;
    let gateway = site.gateway().await;
    (site, [coordinator, gateway])
}

/// A worker that has said that it has its name.
async fn worker(site: &Site, log: &str, name: &str, concurrency: &str) -> Process {
    let mut worker = site.start(log, &["worker", "--name", name, "--concurrency", concurrency]);
    worker.says("worker started").await;
    worker
}

fn calls_by_key(agents: &Agents) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in agents.calls() {
        *counts.entry(call.key).or_default() += 1;
    }
    counts
}

#[test]
fn what_a_killed_worker_held_is_done_again_as_soon_as_it_is_back() {
    run(async {
        let is_back = Arc::new(AtomicBool::new(false));
        let quick = Arc::clone(&is_back);
        let agents = Agents::start(move |call| {
            let is_others = call.workflow_id.starts_with("other");
            Answer::ok(match quick.load(Ordering::Acquire) {
                true => 0,
                false if is_others => 8_000,
                false => 600_000,
            })
        })
        .await;
        let (site, _others) = site("back", &agents, LONG_LEASE).await;
        let _other = worker(&site, "other", "other", "4").await;
        for n in 0..4 {
            site.api.begin("reader", &format!("other-{n}")).await;
        }
        agents.called(4, LIMIT).await;
        let first = worker(&site, "first", "crew", "64").await;
        for n in 0..RUNS {
            for agent in ["reader", "settler", "actor"] {
                site.api.begin(agent, &format!("{agent}-{n}")).await;
            }
        }
        agents.called(4 + 3 * RUNS, LIMIT).await;
        first.kill().await;
        is_back.store(true, Ordering::Release);
        let started = Instant::now();
        let _second = worker(&site, "second", "crew", "64").await;
        let was_up = started.elapsed();
        for n in 0..RUNS {
            for (agent, status) in
                [("reader", "completed"), ("settler", "completed"), ("actor", "failed")]
            {
                let state = site.api.wait_for(&format!("{agent}-{n}"), status, LIMIT).await;
                if agent == "actor" {
                    assert_eq!(state["failure_reason"], "interrupted");
                }
            }
        }
        let took = started.elapsed();
        println!(
            "{} runs were done {took:?} after the worker was started anew, {:?} after it was up",
            3 * RUNS,
            took.saturating_sub(was_up)
        );
        assert!(took < Duration::from_secs(10), "{took:?}: something waited for a lease or an ack");
        // Whatever the other worker holds meanwhile stays its own.
        for n in 0..4 {
            site.api.wait_for(&format!("other-{n}"), "completed", LIMIT).await;
        }
        for (key, calls) in calls_by_key(&agents) {
            let expected =
                if key.starts_with("reader") || key.starts_with("settler") { 2 } else { 1 };
            assert_eq!(calls, expected, "{key}");
        }
        record::assert_whole(&site.pool().await).await;
    });
}

#[test]
fn two_workers_that_are_alive_never_share_a_name() {
    run(async {
        let agents = Agents::start(|_| Answer::ok(3_000)).await;
        let (site, _others) = site("same-name", &agents, LEASE).await;
        let _first = worker(&site, "first", "crew", "4").await;
        let mut second = site.start("second", &["worker", "--name", "crew"]);
        let code = second.ended(LIMIT).await.code();
        let said = second.output();
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("a worker named 'crew' is alive") && said.contains("--name"),
            "{said}"
        );
        // A name that nobody chose is numbered instead.
        let mut third = site.start("third", &["worker"]);
        let third_name = name_said(&third.says("worker started").await);
        let mut fourth = site.start("fourth", &["worker"]);
        let fourth_name = name_said(&fourth.says("worker started").await);
        assert_eq!(fourth_name, format!("{third_name}-2"));
        site.api.begin("actor", "run").await;
        agents.called(1, LIMIT).await;
        let (_, answer) = site.api.get("/workers").await.unwrap();
        let names = |status: &str| -> Vec<&str> {
            let workers = answer["workers"].as_array().unwrap().iter();
            let found = workers.filter(|worker| worker["status"] == status);
            found.map(|worker| worker["name"].as_str().unwrap()).collect()
        };
        let mut expected = vec!["crew", &third_name, &fourth_name];
        expected.sort_unstable();
        assert_eq!(names("live"), expected, "{answer:#}");
        let held: Vec<&Value> = answer["workers"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|worker| worker["attempts"].as_array().unwrap())
            .collect();
        assert_eq!(held.len(), 1, "{answer:#}");
        assert_eq!((&held[0]["workflow_id"], &held[0]["claimed"]), (&"run".into(), &true.into()));
        // Who leaves in order is not listed as lost.
        assert_eq!(fourth.stopped_by(Signal::TERM).await, Some(0));
        let (_, answer) = site.api.get("/workers").await.unwrap();
        assert_eq!(answer["count"], 2, "{answer:#}");
        site.api.wait_for("run", "completed", LIMIT).await;
    });
}

fn name_said(line: &str) -> String {
    let name = line.split_whitespace().find_map(|word| word.strip_prefix("worker.name="));
    name.unwrap().to_owned()
}

#[test]
fn a_frozen_worker_keeps_its_name_for_a_lease_and_ends_when_it_wakes() {
    run(async {
        let agents = Agents::start(|_| Answer::ok(0)).await;
        let (site, _others) = site("frozen-name", &agents, LEASE).await;
        let mut first = worker(&site, "first", "crew", "4").await;
        first.signal(Signal::STOP);
        let mut second = site.start("second", &["worker", "--name", "crew"]);
        second.says("waiting until its lease is over").await;
        second.says("worker started").await;
        first.signal(Signal::CONT);
        assert_eq!(first.ended(LIMIT).await.code(), Some(1));
        let said = first.output();
        assert!(said.contains("another worker has taken the name 'crew'"), "{said}");
        site.api.begin("actor", "run").await;
        site.api.wait_for("run", "completed", LIMIT).await;
    });
}

#[test]
fn what_a_worker_held_that_never_returns_goes_to_others_a_lease_later() {
    run(async {
        let is_gone = Arc::new(AtomicBool::new(false));
        let quick = Arc::clone(&is_gone);
        let agents = Agents::start(move |_| {
            Answer::ok(if quick.load(Ordering::Acquire) { 0 } else { 600_000 })
        })
        .await;
        let (site, _others) = site("gone", &agents, LEASE).await;
        let first = worker(&site, "first", "first", "64").await;
        for agent in ["reader", "settler", "actor"] {
            site.api.begin(agent, agent).await;
        }
        agents.called(3, LIMIT).await;
        let _second = worker(&site, "second", "second", "64").await;
        first.kill().await;
        is_gone.store(true, Ordering::Release);
        let started = Instant::now();
        site.api.wait_for("reader", "completed", LIMIT).await;
        site.api.wait_for("settler", "completed", LIMIT).await;
        site.api.wait_for("actor", "failed", LIMIT).await;
        let took = started.elapsed();
        println!("{took:?} after the kill, with a lease of {LEASE:?}");
        // JetStream alone would take thirty seconds.
        assert!(took < LEASE + Duration::from_secs(15), "{took:?}");
        let (_, answer) = site.api.get("/workers").await.unwrap();
        assert_eq!(answer["workers"][0]["status"], "lost", "{answer:#}");
    });
}
