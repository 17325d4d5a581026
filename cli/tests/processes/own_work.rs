//! What the documentation tells people to write, taken from there and run.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::process::{Process, tied_to_us};
use sluice_tests::run;

use super::dev::Dev;

const LIMIT: Duration = Duration::from_secs(30);
const AGENT: &str = include_str!("../../../examples/own-workflow/agent.py");
const AGENTS: &str = include_str!("../../../examples/own-workflow/agents.yaml");
const PAGE: &str = include_str!("../../../examples/own-workflow/page.workflow.yaml");
const WRITING: &str = include_str!("../../../docs/writing-an-agent.md");
const TESTING: &str = include_str!("../../../docs/testing-workflows.md");

/// The `n`th block of this language on a page.
fn block<'a>(page: &'a str, language: &str, n: usize) -> &'a str {
    let fence = format!("\n```{language}\n");
    let found = page.split(&fence).nth(n + 1).unwrap_or_else(|| panic!("no {language} block {n}"));
    found.split("```").next().unwrap()
}

/// Starts an agent in Python that was written for port 9300, and `sluice dev` with agents that are there.
async fn start(folder: &Folder, script: &str, agents: &str) -> (Process, Dev) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let moved = |text: &str| {
        assert!(text.contains("9300"));
        text.replace("9300", &port.to_string())
    };
    folder.write("agent.py", &moved(script));
    folder.write("agents.yaml", &moved(agents));
    let mut command = tied_to_us("python3");
    command.args(["-u", "agent.py"]).current_dir(folder.path());
    let agent = Process::spawn(command, &folder.path().join("agent.log"));
    (agent, Dev::start(folder.path(), "data").await)
}

fn protocol_lines(script: &str) -> usize {
    let from = script.find("class ").unwrap();
    script[from..].lines().filter(|line| !line.trim().is_empty()).count()
}

#[test]
fn a_workflow_of_ones_own_runs_to_each_of_its_ends() {
    run(async {
        let folder = Folder::new("own");
        folder.write("templates/page.workflow.yaml", PAGE);
        let (_agent, dev) = start(&folder, AGENT, AGENTS).await;
        let api = &dev.api;
        let begin = async |id: &str, text: &str| {
            let context = json!({"page": "home", "text": text});
            let (code, body) = api.execute("page", id, context).await.unwrap();
            assert_eq!(code, 200, "{body}");
        };
        let publish = async |id: &str, text: &str, end: &str| {
            begin(id, text).await;
            let paused = api.wait_for(id, "paused", LIMIT).await;
            assert_eq!(paused["pending_approval"]["approver_role"], "team_lead");
            api.approve_all().await;
            api.wait_for(id, end, LIMIT).await
        };
        let good = publish("good", "Welcome to our site", "completed").await;
        assert_eq!(good["outputs"]["publish"]["live"], "Welcome to our site");
        let broken = publish("broken", "Now it is BROKEN", "rolled_back").await;
        assert_eq!(
            (&broken["outputs"]["take_back"]["live"], &broken["locks"]),
            (&json!("Welcome to our site"), &json!([]))
        );
        let watched = watch(&folder, &api.url, "broken").await;
        assert_eq!(
            watched,
            "  ✓ check by editor, T: → approve (rules: finished, and long enough)
  ✓ approve, T: approved by alice
  ✗ publish by publisher, T: → take_back (condition)
  ✓ take_back by publisher, T
Workflow broken: rolled_back
"
        );
        begin("todo", "one TODO is left").await;
        let todo = api.wait_for("todo", "failed", LIMIT).await;
        assert_eq!(todo["outputs"]["check"]["decision"], "block");
        begin("short", "short").await;
        let short = api.wait_for("short", "failed", LIMIT).await;
        assert!(short["error_message"].as_str().unwrap().contains("no model"), "{short}");
        assert_eq!(dev.process.stopped_by(rustix::process::Signal::TERM).await, Some(0));
    });
    assert!(protocol_lines(AGENT) <= 10, "the example promises ten lines");
}

/// What `sluice watch` prints about a run that has ended, without its durations.
async fn watch(folder: &Folder, url: &str, id: &str) -> String {
    let said = in_shell(folder, url, &format!("sluice watch {id}")).await;
    assert_eq!(said.status.code(), Some(1), "the end was no success: {said:?}");
    let out = String::from_utf8(said.stdout).unwrap();
    let lines = out.lines().map(|line| match line.split_once(", ") {
        Some((step, rest)) => {
            let (took, remark) = rest.split_once(" s").unwrap();
            assert!(took.parse::<f64>().is_ok(), "{line}");
            format!("{step}, T{remark}\n")
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn the_agents_of_the_page_about_agents_work() {
    run(async {
        let folder = Folder::new("writing");
        let template = block(WRITING, "yaml", 1);
        folder.write("templates/shout.workflow.yaml", template);
        folder.write("disk.sh", block(WRITING, "sh", 0));
        let made = Command::new("chmod").arg("+x").arg(folder.path().join("disk.sh")).status();
        assert!(made.unwrap().success());
        let script = block(WRITING, "python", 0);
        let (_agent, dev) = start(&folder, script, block(WRITING, "yaml", 0)).await;
        let (code, body) =
            dev.api.execute("shout", "shout-1", json!({"text": "hello"})).await.unwrap();
        assert_eq!(code, 200, "{body}");
        let end = dev.api.wait_for("shout-1", "completed", LIMIT).await;
        assert_eq!(end["outputs"]["shout"], json!({"shouted": "HELLO"}));
        assert!(end["outputs"]["look"]["free_kb"].as_u64().unwrap() > 0);
        assert_eq!(dev.process.stopped_by(rustix::process::Signal::TERM).await, Some(0));
        assert!(script.lines().filter(|line| !line.trim().is_empty()).count() <= 10);
    });
}

#[test]
fn the_test_of_the_page_about_tests_passes_and_can_fail() {
    run(async {
        let folder = Folder::new("testing");
        folder.write("templates/page.workflow.yaml", PAGE);
        let answers = block(TESTING, "json", 0);
        folder.write("answers.json", answers);
        let (_agent, dev) = start(&folder, block(TESTING, "python", 0), AGENTS).await;
        let script = |id: &str| block(TESTING, "sh", 0).replace("page-test-$$", id);
        let said = in_shell(&folder, &dev.api.url, &script("first")).await;
        assert!(said.status.success(), "{said:?}");

        let mut healthy: Value = serde_json::from_str(answers).unwrap();
        healthy["publish"]["healthy"] = true.into();
        folder.write("answers.json", &healthy.to_string());
        let said = in_shell(&folder, &dev.api.url, &script("second")).await;
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(!said.status.success() && out.contains("a broken page went through"), "{said:?}");
        assert_eq!(dev.process.stopped_by(rustix::process::Signal::TERM).await, Some(0));
    });
}

async fn in_shell(folder: &Folder, url: &str, script: &str) -> std::process::Output {
    let sluice = Path::new(env!("CARGO_BIN_EXE_sluice")).parent().map(Path::to_owned);
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = sluice.into_iter().chain(std::env::split_paths(&inherited));
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", script]).current_dir(folder.path()).kill_on_drop(true);
    command.env("PATH", std::env::join_paths(path).unwrap()).env("SLUICE_URL", url);
    tokio::time::timeout(2 * LIMIT, command.output()).await.expect("the script ends").unwrap()
}
