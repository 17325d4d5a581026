//! The guide's lines, as they stand, against the example's agents, which do real work.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use sluice_tests::run;

use super::dev::Dev;
use super::shell::Shell;
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::process::Process;
use sluice_tests::processes::site::Api;

/// The agents run the example's tests and wait for its services.
const LIMIT: Duration = Duration::from_secs(180);
const DOCS_UPDATE: &str = r#"curl -X POST http://localhost:8001/workflow/execute \
  -H "Content-Type: application/json" \
  -d '{
    "template_name": "docs-update.workflow.yaml",
    "context": {
      "files_changed": ["README.md", "QUICKSTART.md"],
      "pr_number": 789,
      "change_type": "typo_fix",
      "author": "contributor"
    }
  }'"#;
const SMOKE_TEST: &str = r#"curl -X POST http://localhost:8001/workflow/execute \
  -H "Content-Type: application/json" \
  -d '{"template_name": "pr-deployment.workflow.yaml", "context": {"pr_number": 1, "branch": "test"}}'"#;

/// The example's services outlive its agents; these go with the test.
struct Services(PathBuf);

impl Drop for Services {
    fn drop(&mut self) {
        let program = self.0.join("example/agents/infrastructure");
        let stopped =
            Command::new(program).arg("stop").env("SHOP_HOME", self.0.join("shop")).output();
        assert!(
            std::thread::panicking() || stopped.is_ok_and(|output| output.status.success()),
            "the example's services could not be stopped"
        );
    }
}

/// As a stranger starts it: with the templates and the agents that are in the binary.
async fn dev(folder: &Folder) -> Dev {
    let free = ["--gateway-addr", "127.0.0.1:0", "--state-addr", "127.0.0.1:0"];
    let args = [&["dev", "--data", "data"], &free[..]].concat();
    let mut process = Process::sluice(folder.path(), "dev.log", &args, &[]);
    let said = process.says("  API ").await;
    process.says("Ctrl-C stops").await;
    Dev { process, api: Api::at(said.split_whitespace().nth(1).unwrap()) }
}

#[test]
fn every_line_of_the_guide_does_what_it_says() {
    run(async {
        let folder = Folder::new("guide");
        let _services = Services(folder.path().join("data"));
        let dev = dev(&folder).await;
        let shell = Shell::new(&folder, &dev.api.url);

        lists_templates(&shell).await;
        let quick = quick_start(&shell, &dev.api).await;
        available_workflows(&shell, &dev.api).await;
        let again = shell.run(&format!("task workflow:status WORKFLOW_ID={quick}")).await.json();
        assert_eq!(again["status"], "completed");
        assert!(dev.process.stopped_by(rustix::process::Signal::TERM).await == Some(0));
    });
}

/// The guide's sample, but for the descriptions, which are the files' own.
async fn lists_templates(shell: &Shell) {
    let said = shell.run("task workflow:list-templates").await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let sample = "pr-deployment.workflow.yaml - Reviews, tests and stages a pull request, asks a person, deploys it, documents it
hotfix.workflow.yaml - Checks an urgent fix, deploys it straight to production, watches it, rolls it back if need be
feature.workflow.yaml - Analyses a wish, implements, reviews and tests it, updates what belongs to it, asks, merges
docs-update.workflow.yaml - Makes sure that only documents change, reviews them, and merges them
infrastructure.workflow.yaml - Plans a change of infrastructure, has it approved by its risk, applies it, rolls it back if need be
";
    assert_eq!(said.out, sample);
}

/// Start, look, approve; the run goes on to production.
async fn quick_start(shell: &Shell, api: &Api) -> String {
    let line = "task workflow:pr-deploy PR_NUMBER=123 BRANCH=feature/test";
    let id = shell.starts(line, "pr-deployment").await;
    api.wait_for(&id, "paused", LIMIT).await;

    let said = shell.run(&format!("task workflow:status WORKFLOW_ID={id}")).await;
    let status = said.json();
    assert_eq!(said.err, "");
    assert!(said.out.starts_with(&format!("{{\n  \"workflow_id\": \"{id}\",\n")), "{}", said.out);
    assert_eq!(
        json!([status["status"], status["current_step"], status["step_statuses"]]),
        json!(["paused", "approval_gate", {
            "code_review": "completed",
            "run_tests": "completed",
            "deploy_staging": "completed",
            "approval_gate": "running",
            "deploy_production": "pending",
            "update_docs": "pending",
            "rollback_production": "pending",
        }])
    );
    let piped = format!(
        "task workflow:status WORKFLOW_ID={id} | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"status\"])'"
    );
    assert_eq!(shell.run(&piped).await.out, "paused\n");

    let said = shell.run(&format!("task workflow:resume WORKFLOW_ID={id} DECISION=approved")).await;
    assert_eq!(said.json()["approval_decision"], "approved");
    assert_eq!(
        said.err,
        format!(
            "Workflow {id}: approved (1 of 1), now running; follow it with `sluice watch {id}`\n"
        )
    );
    let end = api.wait_for(&id, "completed", LIMIT).await;
    assert_eq!(end["current_step"], "update_docs");
    id
}

async fn available_workflows(shell: &Shell, api: &Api) {
    let lines = [
        (
            "task workflow:pr-deploy PR_NUMBER=123 BRANCH=feature/api-updates",
            "pr-deployment",
            "paused",
        ),
        (
            "task workflow:hotfix PR_NUMBER=456 BRANCH=hotfix/critical-security-fix",
            "hotfix",
            "completed",
        ),
        (
            r#"task workflow:feature TASK="Add API authentication" LANGUAGE=python"#,
            "feature",
            "paused",
        ),
        (
            r#"task workflow:infrastructure CHANGES="Add PostgreSQL database" ENV=staging"#,
            "infra",
            "paused",
        ),
    ];
    for (line, slug, status) in lines {
        let id = shell.starts(line, slug).await;
        api.wait_for(&id, status, LIMIT).await;
        reject(shell, api, &id, status).await;
    }
    for (line, status) in [(DOCS_UPDATE, "completed"), (SMOKE_TEST, "paused")] {
        let started = shell.run(line).await.json();
        let id = started["workflow_id"].as_str().unwrap();
        assert_eq!(started["outputs"], json!({}), "it is answered before anything is done");
        api.wait_for(id, status, LIMIT).await;
        reject(shell, api, id, status).await;
    }
}

/// A paused run holds its locks; the next one shall not wait for them.
async fn reject(shell: &Shell, api: &Api, id: &str, status: &str) {
    if status != "paused" {
        return;
    }
    let said = shell.run(&format!("task workflow:resume WORKFLOW_ID={id} DECISION=rejected")).await;
    assert_eq!(said.json()["approval_decision"], "rejected");
    let looking = async {
        loop {
            let (_, state) = api.get(&format!("/workflow/status/{id}")).await.unwrap();
            if matches!(state["status"].as_str(), Some("completed" | "failed" | "rolled_back")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.expect("a rejected run ends");
}
