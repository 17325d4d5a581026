//! A worker that is told to stop.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sluice_tests::run;

use sluice_tests::processes::agents::{Agents, Answer};
use sluice_tests::processes::process::Process;
use sluice_tests::processes::record;
use sluice_tests::processes::site::{LEASE, Site, published};

const LIMIT: Duration = Duration::from_secs(30);
const ONE_STEP: &str = r#"
name: One step
version: "1.0"
description: One step of one agent.
steps:
  - {id: only, type: agent_call, agent: reader, on_success: workflow_complete}
"#;

/// A coordinator, a gateway and a worker, and a run whose only step has begun.
async fn with_a_step_under_way(
    name: &str,
    agents: &Agents,
    grace: &str,
) -> (Site, [Process; 2], Process) {
    let mut site = Site::shared(name).await;
    site.template("one", ONE_STEP);
    site.agents(&agents.yaml(&[("reader", "effects: false")]));
    let coordinator = site.coordinator("coordinator").await;
    let gateway = site.gateway().await;
    let mut worker = site.start("worker", &["worker", "--grace", grace]);
    worker.says("worker started").await;
    site.api.begin("one", "run").await;
    agents.called(1, LIMIT).await;
    (site, [coordinator, gateway], worker)
}

#[test]
fn a_worker_finishes_what_it_holds() {
    run(async {
        let agents = Agents::start(|_| Answer::ok(1_500)).await;
        let (site, _others, worker) = with_a_step_under_way("finish", &agents, "30").await;
        assert_eq!(worker.stopped_by(Signal::TERM).await, Some(0));
        // Nobody else is there to have finished it.
        site.api.wait_for("run", "completed", Duration::ZERO).await;
        assert_eq!(agents.calls().len(), 1);
        record::assert_whole(&site.pool().await).await;
    });
}

#[test]
fn a_worker_hands_back_what_it_cannot_finish() {
    run(async {
        let agents =
            Agents::start(|call| Answer::ok(if call.key == "run/only/1" { 60_000 } else { 0 }))
                .await;
        let (site, _others, worker) = with_a_step_under_way("hand-back", &agents, "1").await;
        let (started, mut second) = (Instant::now(), site.worker("second", 4).await);
        assert_eq!(worker.stopped_by(Signal::TERM).await, Some(0));
        agents.called(2, LIMIT).await;
        println!("another worker had it {:?} after the signal", started.elapsed());
        assert_eq!(published(&site.bus().await, "reader").await, 1, "handed back, not sent again");
        tokio::time::sleep(LEASE * 2).await;
        assert_eq!(agents.calls().len(), 2, "the second worker keeps it");
        second.signal(Signal::KILL);
        second.ended(LIMIT).await;
    });
}
