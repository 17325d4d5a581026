//! Several coordinators and workers, each a process, on the same runs.

use std::time::{Duration, Instant};

use futures::StreamExt;
use rustix::process::Signal;
use sluice_tests::run;
use sqlx::PgPool;

use sluice_tests::processes::agents::{Agents, Answer};
use sluice_tests::processes::process::Process;
use sluice_tests::processes::record;
use sluice_tests::processes::site::{LEASE, Site, published};

const THREE_STEPS: &str = r#"
name: Three steps
version: "1.0"
description: One that looks, one that acts, one that looks.
steps:
  - {id: look, type: agent_call, agent: reader, on_success: act}
  - {id: act, type: agent_call, agent: actor, on_success: report}
  - {id: report, type: agent_call, agent: reader, on_success: workflow_complete}
"#;
const RUNS: usize = 1_000;
const STEPS: usize = 3;
/// Requests to start a run that are under way at once.
const AT_ONCE: usize = 32;
const LIMIT: Duration = Duration::from_secs(180);
const LONG_LEASE: Duration = Duration::from_secs(30);

/// Two coordinators, three workers, a gateway.
struct Crew {
    site: Site,
    agents: Agents,
    coordinators: [Process; 2],
    workers: Vec<Process>,
    pool: PgPool,
    _gateway: Process,
}

impl Crew {
    /// `lease` is long where no worker is lost: a busy machine must not look like a dead worker.
    async fn start(name: &str, agent_ms: u64, concurrency: u32, lease: Duration) -> Self {
        let agents = Agents::start(move |_| Answer::ok(agent_ms)).await;
        let mut site = Site::shared(name).await;
        site.template("three", THREE_STEPS);
        let traits = [("reader", "effects: false"), ("actor", "effects: true, idempotent: false")];
        site.agents(&agents.yaml(&traits));
        let lease = [("SLUICE_LEASE", format!("{}s", lease.as_secs()))];
        let mut coordinators = ["coordinator-1", "coordinator-2"]
            .map(|name| site.start_with(name, &["coordinator"], &lease));
        for coordinator in &mut coordinators {
            coordinator.says("coordinator is ready").await;
        }
        let workers = workers(&site, "worker", concurrency).await;
        let gateway = site.gateway().await;
        let pool = site.pool().await;
        Self { site, agents, coordinators, workers, pool, _gateway: gateway }
    }

    async fn begin(&self, runs: usize) {
        let starts =
            (0..runs).map(async |n| self.site.api.begin("three", &format!("run-{n}")).await);
        futures::stream::iter(starts).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn ended(&self) {
        let until = Instant::now() + LIMIT;
        while record::open_runs(&self.pool).await > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Every run completed, and each of its steps was published, called and recorded once.
    async fn assert_each_once(&self, runs: usize) {
        record::assert_whole(&self.pool).await;
        let completed =
            record::count(&self.pool, "select count(*) from runs where status = 'completed'").await;
        assert_eq!(usize::try_from(completed).unwrap(), runs);
        for agent in ["reader", "actor"] {
            self.agents.assert_called_once_each(agent);
        }
        assert_eq!(self.agents.calls().len(), runs * STEPS);
        assert_eq!(published(&self.site.bus().await, "reader").await, (runs * STEPS) as u64);
    }
}

async fn workers(site: &Site, name: &str, concurrency: u32) -> Vec<Process> {
    let names = (1..=3).map(|n| format!("{name}-{n}"));
    let starts = names.map(async |name| site.worker(&name, concurrency).await);
    futures::future::join_all(starts).await
}

#[test]
fn two_coordinators_and_three_workers_complete_each_of_1000_runs_once() {
    run(async {
        let crew = Crew::start("crew", 0, 16, LONG_LEASE).await;
        let started = Instant::now();
        crew.begin(RUNS).await;
        crew.ended().await;
        println!("{RUNS} runs in {:?}", started.elapsed());
        crew.assert_each_once(RUNS).await;
    });
}

#[test]
fn killing_the_first_coordinator_changes_nothing_but_the_time() {
    kill_a_coordinator("first", 0);
}

#[test]
fn killing_the_second_coordinator_changes_nothing_but_the_time() {
    kill_a_coordinator("second", 1);
}

/// Half-way: every run is taken, and half of the calls have begun.
fn kill_a_coordinator(name: &str, which: usize) {
    run(async {
        let crew = Crew::start(name, 5, 16, LONG_LEASE).await;
        let started = Instant::now();
        crew.begin(RUNS).await;
        crew.agents.called(RUNS * STEPS / 2, LIMIT).await;
        assert!(record::open_runs(&crew.pool).await > 0, "nothing was left to do");
        crew.coordinators[which].signal_group(Signal::KILL);
        crew.ended().await;
        println!("{RUNS} runs in {:?}, with a coordinator killed", started.elapsed());
        crew.assert_each_once(RUNS).await;
    });
}

#[test]
fn a_backlog_without_workers_is_published_once() {
    run(async {
        let runs = 300;
        let mut crew = Crew::start("backlog", 20, 2, LEASE).await;
        crew.begin(runs).await;
        crew.agents.called(50, LIMIT).await;
        for worker in crew.workers.drain(..) {
            assert_eq!(worker.stopped_by(Signal::TERM).await, Some(0));
        }
        assert!(record::open_runs(&crew.pool).await > 200, "no backlog");
        tokio::time::sleep(LEASE * 3).await;
        crew.workers = workers(&crew.site, "later", 16).await;
        crew.ended().await;
        crew.assert_each_once(runs).await;
    });
}

#[test]
fn frozen_workers_cost_a_second_message_for_what_they_held_and_for_nothing_else() {
    run(async {
        let (runs, concurrency) = (300, 2);
        let mut crew = Crew::start("frozen", 20, concurrency, LEASE).await;
        crew.begin(usize::try_from(runs).unwrap()).await;
        crew.agents.called(50, LIMIT).await;
        crew.workers.iter().for_each(|worker| worker.signal(Signal::STOP));
        assert!(record::open_runs(&crew.pool).await > 200, "no backlog");
        tokio::time::sleep(LEASE * 3).await;
        crew.workers.iter().for_each(|worker| worker.signal(Signal::CONT));
        crew.workers.extend(workers(&crew.site, "later", 16).await);
        crew.ended().await;
        record::assert_whole(&crew.pool).await;
        crew.agents.assert_called_once_each("actor");
        crew.agents.assert_keys_name_steps();
        // A frozen worker looks like a dead one: what it had claimed is not tried again.
        let interrupted = "select count(*) from workflow_events
                            where action = 'fail_step' and data ->> 'error_type' = 'interrupted'";
        let interrupted = record::count(&crew.pool, interrupted).await;
        let completed = "select count(*) from runs where status = 'completed'";
        assert_eq!(record::count(&crew.pool, completed).await + interrupted, runs);
        let settled = "select count(*) from workflow_events
                        where action = 'complete_step' or action = 'fail_step'";
        let settled = u64::try_from(record::count(&crew.pool, settled).await).unwrap();
        let published = published(&crew.site.bus().await, "reader").await;
        let held = u64::from(concurrency) * 3;
        assert!(
            (settled..=settled + held).contains(&published),
            "{published} messages for {settled} attempts"
        );
        println!("{published} messages for {settled} attempts; {held} were held at most");
    });
}
