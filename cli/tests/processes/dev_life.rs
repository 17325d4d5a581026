//! `sluice dev` from start to stop, and again.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use sluice_tests::run;

use super::dev::Dev;
use sluice_tests::processes::agents::{Agents, Answer};
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::process::{Process, processes_with};
use sluice_tests::processes::record;

const LIMIT: Duration = Duration::from_secs(30);
const TWO_STEPS: &str = r#"
name: Two steps
version: "1.0"
description: Looks twice.
steps:
  - {id: one, type: agent_call, agent: reader, on_success: two}
  - {id: two, type: agent_call, agent: reader, on_success: workflow_complete}
"#;

async fn folder(name: &str, agents: &Agents) -> Folder {
    let folder = Folder::new(name);
    folder.write("templates/two.workflow.yaml", TWO_STEPS);
    folder.write("agents.yaml", &agents.yaml(&[("reader", "effects: false")]));
    folder
}

/// Nothing whose command line names the folder is left.
fn assert_no_process_of(folder: &Folder) {
    let left = processes_with(&folder.path().display().to_string());
    assert!(left.is_empty(), "{left:#?}");
}

/// The parts stopped in the order in which nothing is lost, and everybody had the time.
fn assert_in_order(dev: &Process) {
    let said = dev.output();
    let at = |line: &str| said.find(line).unwrap_or_else(|| panic!("no '{line}': {said}"));
    assert!(at("stopping: gateway, worker, coordinator, servers") < at("stopped; the data stay"));
}

#[test]
fn a_second_run_keeps_the_data_and_goes_on_with_what_was_unfinished() {
    run(async {
        let agents = Agents::start(|_| Answer::ok(300)).await;
        let folder = folder("again", &agents).await;
        let dev = Dev::start(folder.path(), "data").await;
        dev.api.begin("two", "early").await;
        dev.api.wait_for("early", "completed", LIMIT).await;
        dev.api.begin("two", "late").await;
        // In the middle of its first step, which an orderly stop lets finish.
        agents.called(3, LIMIT).await;
        assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
        let dev = Dev::start(folder.path(), "data").await;
        let (status, early) = dev.api.get("/workflow/status/early").await.unwrap();
        assert_eq!((status, &early["status"]), (200, &json!("completed")));
        dev.api.wait_for("late", "completed", LIMIT).await;
        assert_eq!(agents.calls().len(), 4, "each step of each run once");
        let pool = Dev::pool(folder.path(), "data").await;
        record::assert_whole(&pool).await;
        pool.close().await;
        assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
        assert_no_process_of(&folder);
    });
}

#[test]
fn ctrl_c_and_sigterm_stop_everything_in_order() {
    run(async {
        let agents = Agents::start(|_| Answer::ok(500)).await;
        let folder = folder("signals", &agents).await;
        for (n, to_group) in [true, false].into_iter().enumerate() {
            let mut dev = Dev::start(folder.path(), "data").await;
            dev.api.begin("two", &format!("run-{n}")).await;
            agents.called(2 * n + 1, LIMIT).await;
            match to_group {
                // A terminal sends its Ctrl-C to the servers as well.
                true => dev.process.signal_group(Signal::INT),
                false => dev.process.signal(Signal::TERM),
            }
            assert_eq!(dev.process.ended(LIMIT).await.code(), Some(0), "{}", dev.process.output());
            assert_in_order(&dev.process);
            assert_no_process_of(&folder);
            // Whoever starts it again finds the rest done; the next round counts from there.
            let dev = Dev::start(folder.path(), "data").await;
            dev.api.wait_for(&format!("run-{n}"), "completed", LIMIT).await;
            assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
        }
    });
}

#[test]
fn a_signal_while_starting_stops_what_was_started() {
    run(async {
        let agents = Agents::start(|_| Answer::ok(0)).await;
        let folder = folder("early", &agents).await;
        let mut starting = Dev::begin(folder.path(), "data");
        // Both servers are about to be started.
        starting.says("made a PostgreSQL cluster").await;
        starting.signal(Signal::INT);
        assert_eq!(starting.ended(LIMIT).await.code(), Some(0), "{}", starting.output());
        assert_no_process_of(&folder);
        let dev = Dev::start(folder.path(), "data").await;
        assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
    });
}

#[test]
fn two_data_folders_live_side_by_side() {
    run(async {
        let agents = Agents::start(|_| Answer::ok(0)).await;
        let folder = folder("beside", &agents).await;
        let (left, right) =
            futures::join!(Dev::start(folder.path(), "left"), Dev::start(folder.path(), "right"),);
        for dev in [&left, &right] {
            dev.api.begin("two", "same-id").await;
        }
        assert_eq!(left.process.stopped_by(Signal::TERM).await, Some(0));
        right.api.wait_for("same-id", "completed", LIMIT).await;
        assert_eq!(right.process.stopped_by(Signal::TERM).await, Some(0));
        assert_no_process_of(&folder);
    });
}
