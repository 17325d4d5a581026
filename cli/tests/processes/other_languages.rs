//! Sluice from outside: the `nats` program, and an agent in Python.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sluice_tests::run;

use super::shell::named_by;
use sluice_tests::processes::process::{Process, tied_to_us};
use sluice_tests::processes::record;
use sluice_tests::processes::site::{LEASE, Site};

const LIMIT: Duration = Duration::from_secs(30);
const SCRIPT: &str = include_str!("../../../examples/external-agent/agent.py");
const AGENTS: &str = include_str!("../../../examples/external-agent/agents.yaml");
const TEMPLATE: &str = include_str!("../../../examples/external-agent/document.workflow.yaml");

/// What the `nats` program prints.
fn nats(site: &Site, args: &[&str]) -> String {
    let program = named_by("SLUICE_TEST_NATS_CLI", "the `nats` program");
    let mut command = Command::new(program);
    command.args(args).env("NATS_URL", &site.nats_url).env("HOME", site.folder.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn python_agent(site: &Site) -> Process {
    let python = named_by("SLUICE_TEST_PYTHON", "a python3 that has nats-py");
    site.folder.write("agent.py", SCRIPT);
    let mut command = tied_to_us(&python);
    command
        .arg("-u")
        .arg(site.folder.path().join("agent.py"))
        .env("SLUICE_NATS_URL", &site.nats_url);
    Process::spawn(command, &site.folder.path().join("python.log"))
}

#[test]
fn nats_and_python_are_enough() {
    run(async {
        // The subjects as they are written down; nobody else here uses them.
        let mut site = Site::shared_as("languages", "sluice").await;
        site.template("document", TEMPLATE);
        site.agents(AGENTS);
        let _gateway = site.gateway().await;
        // Whoever comes first makes the streams.
        let _worker = site.worker("worker", 4).await;
        let _python = python_agent(&site);
        // Longer than a lease: without its heartbeats the agent would lose the step.
        let seconds = LEASE.as_secs() * 2;
        let start = format!(
            r#"{{"template_name": "document.workflow.yaml", "workflow_id": "by-nats",
                "context": {{"topic": "Tides", "seconds": {seconds}}}}}"#
        );
        nats(&site, &["pub", "sluice.command.v1.workflow.execute", &start]);
        assert_eq!(
            site.api.get("/workflow/status/by-nats").await.unwrap().0,
            503,
            "no coordinator yet"
        );

        let _coordinator = site.coordinator("coordinator").await;
        wait_until_taken(&site).await;
        let rest = site.api.wait_for("by-nats", "completed", LIMIT).await;
        assert_eq!(rest["outputs"]["write"]["page"], "# Tides");
        assert_eq!(rest["outputs"]["write"]["key"], "by-nats/write/1");

        let listed = nats(&site, &["micro", "ls"]);
        assert!(listed.contains("sluice"), "{listed}");
        let status = r#"{"workflow_id": "by-nats"}"#;
        let answered = nats(&site, &["request", "--raw", "sluice.api.v1.workflow.status", status]);
        assert_eq!(serde_json::from_str::<Value>(&answered).unwrap(), rest);
        let pool = site.pool().await;
        record::assert_whole(&pool).await;
        let attempts =
            "select count(*) from workflow_events where action in ('complete_step', 'fail_step')";
        assert_eq!(record::count(&pool, attempts).await, 1, "one attempt was enough");
    });
}

async fn wait_until_taken(site: &Site) {
    let looking = async {
        while site.api.get("/workflow/status/by-nats").await.unwrap().0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.expect("the command was never taken");
}

#[test]
fn the_python_agent_speaks_the_protocol_in_20_lines() {
    let from = SCRIPT.find("async def serve").unwrap();
    let to = SCRIPT.find("asyncio.run").unwrap();
    let lines = SCRIPT[from..to].lines().filter(|line| !line.trim().is_empty());
    assert!(lines.count() <= 20);
}
