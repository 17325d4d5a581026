//! `sluice dev` as it is without any argument: the example's agents do real work on the example.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use sluice_tests::run;

use super::dev::Dev;
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::process::Process;
use sluice_tests::processes::site::Api;

/// The agents run real tests and wait for real services, beside whatever else this machine does.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);
/// As many as the plain run has time for.
const CROWD: usize = if cfg!(feature = "full") { 20 } else { 4 };
pub(crate) const PULL_REQUEST: &str = "pr-deployment";

/// The example in a data folder; its services outlive Sluice, and go with the test.
pub(crate) struct Shop(PathBuf);

impl Shop {
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn home(&self) -> PathBuf {
        self.0.join("shop")
    }

    /// What git says about the repository.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(self.home().join("repository.git")).args(arguments);
        let done = git.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// What the agents wrote about their work on one slot, in order.
    fn log(&self, slot: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.home().join("log.jsonl")).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries.filter(|entry| entry["slot"] == slot).collect()
    }

    /// What the service in a slot says about itself.
    pub(crate) async fn health(&self, slot: &str) -> Value {
        let ports = std::fs::read_to_string(self.home().join("ports.json")).unwrap();
        let ports: Value = serde_json::from_str(&ports).unwrap();
        let (status, body) =
            Api::at(&format!("http://127.0.0.1:{}", ports[slot])).get("/health").await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let stop = self.0.join("example/agents/infrastructure");
        if stop.exists() {
            let done = Command::new(stop).arg("stop").output();
            assert!(
                std::thread::panicking() || done.is_ok_and(|done| done.status.success()),
                "the example's services could not be stopped"
            );
        }
    }
}

async fn start(folder: &Folder) -> (Shop, Dev) {
    start_with(folder, &[]).await
}

pub(crate) async fn start_with(folder: &Folder, env: &[(&str, String)]) -> (Shop, Dev) {
    let shop = Shop::in_folder(folder.path().join("data"));
    let dev = Dev::start_plain(folder.path(), "data", env).await;
    (shop, dev)
}

pub(crate) async fn begin(api: &Api, template: &str, id: &str, context: Value) {
    let (status, body) = api.execute(template, id, context).await.unwrap();
    assert_eq!(status, 200, "{body}");
}

pub(crate) async fn approve(api: &Api, id: &str) {
    let body = json!({"approval_decision": "approved", "approver": "ada"});
    let (status, body) = api.post(&format!("/workflow/resume/{id}"), &body).await.unwrap();
    assert_eq!(status, 200, "{body}");
}

pub(crate) fn pull_request(number: usize, branch: &str) -> Value {
    json!({"pr_number": number, "branch": branch, "title": format!("Change {number}")})
}

#[test]
fn the_five_workflows_reach_what_the_guide_says() {
    run(async {
        let folder = Folder::new("defaults");
        let (shop, dev) = start(&folder).await;
        let said = dev.process.output();
        assert!(said.contains("the example's; --agents FILE names others"), "{said}");
        assert!(said.contains("data/shop; a branch it does not have"), "{said}");
        let feature = json!({"task_description": "Add OAuth2 authentication", "language": "python",
            "project_path": "/opt/Dev-Tools", "requires_infrastructure": true, "requires_cicd": true});
        // The last one keeps staging locked while it waits.
        let cases = [
            (PULL_REQUEST, "paused", pull_request(123, "feature/test")),
            ("hotfix", "completed", pull_request(456, "hotfix/critical")),
            ("feature", "paused", feature),
            (
                "docs-update",
                "completed",
                json!({"files_changed": ["README.md", "QUICKSTART.md"], "pr_number": 789}),
            ),
            (
                "infrastructure",
                "paused",
                json!({"changes_description": "Add test resource", "environment": "staging"}),
            ),
        ];
        for (template, _, context) in &cases[..4] {
            begin(&dev.api, template, template, context.clone()).await;
        }
        let mut ends = BTreeMap::new();
        for (template, status, context) in cases {
            if template == "infrastructure" {
                begin(&dev.api, template, template, context).await;
            }
            ends.insert(template, dev.api.wait_for(template, status, LIMIT).await);
        }
        // Somebody who wants to begin anew beside this one is refused, and takes nothing away.
        let args = ["dev", "--data", "data", "--fresh"];
        let free = ["--gateway-addr", "127.0.0.1:0", "--state-addr", "127.0.0.1:0"];
        let mut second =
            Process::sluice(folder.path(), "second.log", &[&args[..], &free[..]].concat(), &[]);
        assert_eq!(second.ended(LIMIT).await.code(), Some(1), "{}", second.output());
        assert!(shop.home().join("repository.git").exists());
        let remarks = ends[PULL_REQUEST]["outputs"]["code_review"]["remarks"].to_string();
        assert!(
            remarks.contains("'feature/test'") && remarks.contains("feature/gift-wrap"),
            "{remarks}"
        );
        let remarks = ends["feature"]["outputs"]["code_review"]["remarks"].to_string();
        assert!(remarks.contains("no project at /opt/Dev-Tools"), "{remarks}");
        assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
    });
}

#[test]
fn the_examples_branches_end_as_their_names_promise() {
    run(async {
        let folder = Folder::new("branches");
        let (shop, dev) = start(&folder).await;
        let api = &dev.api;
        for (id, branch) in [
            ("good", "feature/gift-wrap"),
            ("untested", "feature/bulk-discount"),
            ("secret", "feature/payment-client"),
            ("unhealthy", "feature/country-tax"),
        ] {
            begin(api, PULL_REQUEST, id, pull_request(id.len(), branch)).await;
        }
        let documents =
            json!({"pr_number": 7, "branch": "docs/opening-hours", "files_changed": ["README.md"]});
        begin(api, "docs-update", "documents", documents).await;

        let failed = api.wait_for("untested", "failed", LIMIT).await;
        assert_eq!(failed["failed_step"], "run_tests", "{failed:#}");
        let failed = api.wait_for("secret", "failed", LIMIT).await;
        assert_eq!(failed["failed_step"], "code_review", "{failed:#}");
        api.wait_for("documents", "completed", LIMIT).await;
        assert!(shop.git(&["ls-tree", "--name-only", "main", "docs/"]).contains("opening-hours"));

        api.wait_for("unhealthy", "paused", LIMIT).await;
        approve(api, "unhealthy").await;
        let undone = api.wait_for("unhealthy", "rolled_back", LIMIT).await;
        let before = &undone["outputs"]["deploy_production"]["previous_version"];
        assert_eq!(shop.health("production").await["version"], *before, "{undone:#}");

        api.wait_for("good", "paused", LIMIT).await;
        approve(api, "good").await;
        let done = api.wait_for("good", "completed", LIMIT).await;
        let deployed = &done["outputs"]["deploy_production"];
        assert_ne!(deployed["version"], *before);
        assert_eq!(shop.health("production").await["version"], deployed["version"]);
        let changelog = shop.git(&["show", "main:CHANGELOG.md"]);
        assert!(changelog.contains("- #4: Change 4"), "{changelog}");
        assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
    });
}

#[test]
fn a_crowd_of_pull_requests_deploys_one_by_one_in_the_order_of_the_lock() {
    run(async {
        let folder = Folder::new("crowd");
        let (shop, dev) = start(&folder).await;
        let ids: Vec<String> = (1..=CROWD).map(|n| format!("pr-{n}")).collect();
        for (n, id) in ids.iter().enumerate() {
            begin(&dev.api, PULL_REQUEST, id, pull_request(n, "feature/gift-wrap")).await;
        }
        for id in &ids {
            dev.api.wait_for(id, "paused", LIMIT).await;
        }
        for id in &ids {
            approve(&dev.api, id).await;
        }
        for id in &ids {
            dev.api.wait_for(id, "completed", LIMIT).await;
        }
        for (slot, step) in [("staging", "deploy_staging"), ("production", "deploy_production")] {
            let worked = one_by_one(&shop.log(slot));
            assert_eq!(worked.len(), CROWD, "{slot}");
            assert_eq!(worked, in_order_of_the_lock(&dev.api, &ids, slot, step).await, "{slot}");
        }
        assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
    });
}

/// The runs that worked on a slot, each begun only after the one before had ended.
fn one_by_one(log: &[Value]) -> Vec<String> {
    let pairs = log.chunks(2).map(|pair| {
        let [begin, end] = pair else { panic!("work without an end: {pair:?}") };
        assert_eq!((&begin["event"], &end["event"]), (&json!("begin"), &json!("end")), "{log:#?}");
        assert_eq!(begin["key"], end["key"], "{log:#?}");
        begin["workflow"].as_str().unwrap().to_owned()
    });
    pairs.collect()
}

/// The runs in the order in which they got the slot's lock for this step.
async fn in_order_of_the_lock(api: &Api, ids: &[String], slot: &str, step: &str) -> Vec<String> {
    let mut numbers = BTreeMap::new();
    for id in ids {
        let path = format!("/workflow/{id}/events?action=acquire_lock");
        let (_, history) = api.get(&path).await.unwrap();
        let events = history["events"].as_array().unwrap().iter();
        let mut taken = events.filter(|event| {
            event["step_id"] == step
                && event["data"]["resource_lock"] == format!("deployment:{slot}").as_str()
        });
        let number = taken.next().unwrap()["data"]["fencing_number"].as_u64().unwrap();
        assert!(taken.next().is_none() && numbers.insert(number, id.clone()).is_none());
    }
    numbers.into_values().collect()
}

#[test]
fn without_python_it_says_so_before_anything_is_made() {
    let folder = Folder::new("no-python");
    let nothing = folder.path().join("empty");
    std::fs::create_dir(&nothing).unwrap();
    for command in ["dev", "demo"] {
        let done = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args([command, "--data", "data"])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", &nothing)
            .output()
            .unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("need Python 3.9 or newer: python3 is not on the PATH"), "{said}");
        assert!(!Path::new(&folder.path().join("data")).exists());
    }
}
