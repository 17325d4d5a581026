//! What the Taskfile does with values, whatever is in them, and with refusals.

use serde_json::{Value, json};
use sluice_tests::run;

use super::shell::Shell;
use sluice_tests::processes::process::Process;
use sluice_tests::processes::site::{ASK, Site};

const TEMPLATES: [(&str, &str); 5] = [
    ("pr-deployment", include_str!("../../../templates/pr-deployment.workflow.yaml")),
    ("hotfix", include_str!("../../../templates/hotfix.workflow.yaml")),
    ("feature", include_str!("../../../templates/feature.workflow.yaml")),
    ("infrastructure", include_str!("../../../templates/infrastructure.workflow.yaml")),
    ("docs-update", include_str!("../../../templates/docs-update.workflow.yaml")),
];

/// Nobody works on the runs: what they were started with is all that matters.
async fn site(name: &str) -> (Site, Shell, [Process; 2]) {
    let mut site = Site::shared(name).await;
    for (name, text) in TEMPLATES {
        site.template(name, text);
    }
    site.template("ask", ASK);
    site.agents("agents: {}\n");
    let coordinator = site.coordinator("coordinator").await;
    let gateway = site.gateway().await;
    let shell = Shell::new(&site.folder, &site.api.url);
    (site, shell, [coordinator, gateway])
}

async fn context(site: &Site, id: &str) -> Value {
    let (code, state) = site.api.get(&format!("/workflow/{id}")).await.unwrap();
    assert_eq!(code, 200, "{state}");
    state["context"].clone()
}

#[test]
fn texts_arrive_as_they_were_given() {
    run(async {
        let (site, shell, _processes) = site("texts").await;
        let texts = [
            r#"say "hi" to $USER; touch pwned"#,
            "$(touch pwned) `touch pwned` ${HOME} $$ %s %n",
            "two\nlines\n\tand 'quotes' \\n \\ \\\"",
            "<b>&amp; ünï ✓ 日本語 {.TASK} #{x} --help -o json",
            "   blanks around   ",
            "true",
            "42",
            "null",
            r#"{"json": ["text"]}"#,
        ];
        for text in texts {
            let env = [("GIVEN", text)];
            let said = shell.run_with(r#"task workflow:feature TASK="$GIVEN""#, &env).await;
            let id = shell.started(&said, "feature");
            assert_eq!(context(&site, &id).await["task_description"], *text);

            let line = r#"task workflow:infrastructure CHANGES="$GIVEN" ENV=production"#;
            let id = shell.started(&shell.run_with(line, &env).await, "infra");
            let context = context(&site, &id).await;
            assert_eq!(
                (&context["changes_description"], &context["environment"]),
                (&json!(text), &json!("production"))
            );
        }
        let typed = [
            r#"task workflow:feature TASK='say "hi" to $USER; touch pwned'"#,
            "task workflow:infrastructure CHANGES='one\ntwo; touch pwned' ENV=staging",
            "task workflow:pr-deploy BRANCH='$(touch pwned)'",
            "task workflow:status WORKFLOW_ID='x; touch pwned'",
            "task workflow:resume WORKFLOW_ID='$(touch pwned)' DECISION='`touch pwned`'",
        ];
        for line in typed {
            shell.run(line).await;
        }
        assert!(!shell.has("pwned"), "a value was run as a command");
    });
}

#[test]
fn what_is_not_given_has_the_defaults_of_the_guide() {
    run(async {
        let (site, shell, _processes) = site("defaults").await;
        // Variables that many environments have, and that mean something else there.
        let env = [("LANGUAGE", "de_DE:de"), ("ENV", "/etc/shinit"), ("TASK", "from outside")];
        let cases = [
            ("pr-deploy", "pr-deployment", json!({"pr_number": 123, "branch": "feature/test"})),
            ("hotfix", "hotfix", json!({"pr_number": 456, "branch": "hotfix/critical"})),
            (
                "feature",
                "feature",
                json!({"task_description": "Add test feature", "language": "python",
                       "requires_infrastructure": false, "requires_cicd": false}),
            ),
            (
                "infrastructure",
                "infra",
                json!({"changes_description": "Add test resource", "environment": "staging",
                       "iac_tool": "terraform", "resources": []}),
            ),
            (
                "docs-update",
                "docs-update",
                json!({"pr_number": 789, "files_changed": ["README.md"]}),
            ),
        ];
        for (task, slug, expected) in cases {
            let said = shell.run_with(&format!("task workflow:{task}"), &env).await;
            let id = shell.started(&said, slug);
            assert_eq!(context(&site, &id).await, expected, "{task}");
        }
        let line = "task workflow:docs-update PR_NUMBER=7 FILES_CHANGED='a.md \"b c.md\"' AUTHOR=ada PROJECT_PATH=/x";
        let id = shell.started(&shell.run(line).await, "docs-update");
        let expected = json!({"pr_number": 7, "files_changed": ["a.md", "b c.md"], "author": "ada",
                              "project_path": "/x"});
        assert_eq!(context(&site, &id).await, expected);
    });
}

#[test]
fn a_decision_carries_who_and_why() {
    run(async {
        let (site, shell, _processes) = site("decision").await;
        site.api.begin("ask", "ask-1").await;
        site.api.wait_for("ask-1", "paused", std::time::Duration::from_secs(30)).await;
        let env = [("WHY", "\"looks\" good\nto me; touch pwned")];
        let line =
            r#"task workflow:resume WORKFLOW_ID=ask-1 APPROVER=ada ROLE=tech_lead COMMENT="$WHY""#;
        let said = shell.run_with(line, &env).await;
        assert_eq!(said.json()["status"], "completed");
        let pool = site.pool().await;
        let recorded = "select coalesce(string_agg(data::text, ' '), '') from workflow_events";
        let recorded: String = sqlx::query_scalar(recorded).fetch_one(&pool).await.unwrap();
        for part in ["ada", "tech_lead", r#"\"looks\" good\nto me; touch pwned"#] {
            assert!(recorded.contains(part), "{part}: {recorded}");
        }
    });
}

#[test]
fn runs_are_cancelled_and_retried() {
    run(async {
        let (site, shell, _processes) = site("control").await;
        site.api.begin("ask", "ask-1").await;
        site.api.wait_for("ask-1", "paused", std::time::Duration::from_secs(30)).await;
        let env = [("WHY", "\"done\" & over\n100% $HOME; touch pwned")];
        let line = r#"task workflow:cancel WORKFLOW_ID=ask-1 REASON="$WHY" CANCELLED_BY="ops@example.com""#;
        let cancelled = shell.run_with(line, &env).await.json();
        assert_eq!(
            (&cancelled["status"], &cancelled["reason"], &cancelled["cancelled_by"]),
            (&json!("cancelled"), &json!(env[0].1), &json!("ops@example.com"))
        );
        let again = shell.run("task workflow:cancel WORKFLOW_ID=ask-1").await;
        assert!(again.code != 0 && again.err.contains("ended as cancelled"), "{again:?}");

        site.api.begin("ask", "ask-2").await;
        site.api.wait_for("ask-2", "paused", std::time::Duration::from_secs(30)).await;
        shell.run("task workflow:resume WORKFLOW_ID=ask-2 DECISION=rejected").await;
        let line = "task workflow:retry WORKFLOW_ID=ask-2 STEP_ID=gate MAX_RETRIES=3";
        let retried = shell.run(line).await.json();
        assert_eq!(
            (&retried["retry_attempt"], &retried["status"]),
            (&json!(1), &json!("retrying"))
        );
        let refused = shell.run("task workflow:retry WORKFLOW_ID=ask-1 STEP_ID=gate").await;
        assert!(refused.code != 0 && refused.out.is_empty(), "{refused:?}");
        assert!(!shell.has("pwned"));
    });
}

#[test]
fn records_are_looked_at() {
    run(async {
        let (site, shell, _processes) = site("records").await;
        site.api.begin("ask", "ask-1").await;
        site.api.wait_for("ask-1", "paused", std::time::Duration::from_secs(30)).await;
        let task = async |line: &str| shell.run(&format!("task workflow:{line}")).await;
        let events = task("events WORKFLOW_ID=ask-1").await.json();
        assert_eq!((&events["limit"], &events["offset"]), (&json!(100), &json!(0)));
        let one =
            task("events WORKFLOW_ID=ask-1 LIMIT=1 OFFSET=1 ACTION=PAUSE_WORKFLOW").await.json();
        assert_eq!((&one["total_events"], &one["events"]), (&json!(1), &json!([])));
        assert_eq!(task("replay WORKFLOW_ID=ask-1").await.json()["matches"], true);
        let line = "time-travel WORKFLOW_ID=ask-1 TIMESTAMP=2024-01-15T10:15:00Z";
        assert_eq!(task(line).await.json()["state"]["status"], "pending");
        let comment = r#"OPERATOR="alice@example.com" COMMENT="Manually approved due to \"emergency\"; touch pwned""#;
        let note = task(&format!("annotate WORKFLOW_ID=ask-1 {comment}")).await.json();
        let data = &note["annotation"]["data"];
        assert_eq!(data["operator"], "alice@example.com");
        assert_eq!(data["comment"], "Manually approved due to \"emergency\"; touch pwned");
        let plain = task("annotate WORKFLOW_ID=ask-1").await.json();
        assert_eq!(plain["annotation"]["data"]["comment"], "No comment provided");
        assert_eq!(task("snapshots WORKFLOW_ID=ask-1").await.json(), json!([]));
        for format in ["json", "csv", "pdf"] {
            let said = task(&format!("export-audit WORKFLOW_ID=ask-1 FORMAT={format}")).await;
            let file = format!("audit_report_ask-1.{format}");
            assert_eq!(said.out, format!("✓ Audit report saved: {file}\n"));
            assert!(shell.has(&file));
        }
        for line in ["replay WORKFLOW_ID=nobody", "time-travel WORKFLOW_ID=ask-1 TIMESTAMP=noon"] {
            let said = task(line).await;
            assert!(said.code != 0 && said.out.is_empty(), "{line}: {said:?}");
        }
        assert!(!shell.has("pwned"));
    });
}

#[test]
fn refusals_are_told_and_fail() {
    run(async {
        let (site, shell, _processes) = site("refusals").await;
        let cases = [
            ("task workflow:status WORKFLOW_ID=nobody", "nobody"),
            ("task workflow:resume WORKFLOW_ID=nobody", "nobody"),
            ("task workflow:status", "WORKFLOW_ID"),
            ("task workflow:pr-deploy PR_NUMBER=12a", "PR_NUMBER must be a number"),
            ("task workflow:hotfix PR_NUMBER=-1", "PR_NUMBER must be a number"),
            (
                "task workflow:list-templates ORCHESTRATOR_URL=http://127.0.0.1:1",
                "nothing answers at http://127.0.0.1:1",
            ),
            ("SLUICE_BIN=/nowhere/sluice task workflow:list-templates", "/nowhere/sluice"),
        ];
        for (line, told) in cases {
            let said = shell.run(line).await;
            assert!(said.code != 0 && said.out.is_empty(), "{line}: {said:?}");
            assert!(said.err.contains(told), "{line}: {said:?}");
        }
        site.api.begin("ask", "ask-1").await;
        let said = shell.run("task workflow:resume WORKFLOW_ID=ask-1 DECISION=perhaps").await;
        assert!(said.code != 0 && said.err.contains("approved") && said.out.is_empty(), "{said:?}");
        let (_, runs) = site.api.get("/workflows").await.unwrap();
        assert_eq!(runs.as_array().unwrap().len(), 1, "a refused task starts nothing: {runs}");
    });
}

#[test]
fn prompts_are_checked_without_a_server() {
    run(async {
        let folder = sluice_tests::processes::folder::Folder::new("prompts");
        let shell = Shell::new(&folder, "http://127.0.0.1:1");
        let said = shell.run("task prompts:validate").await;
        assert!(said.code == 0 && said.out.ends_with("\n\nAll prompts valid ✓\n"), "{said:?}");
        let said = shell.run("task prompts:token-count").await;
        assert!(said.code == 0 && said.out.contains("prompts/cicd.md"), "{said:?}");
        folder.write("over.md", &"word ".repeat(9_000));
        folder.write("agents.yaml", "agents: {big: {runtime: llm, prompt: over.md}}\n");
        let said = shell.run("SLUICE_AGENTS_FILE=agents.yaml task prompts:validate").await;
        assert!(said.code != 0 && said.out.contains("big prompt... ✗ 9,001 tokens"), "{said:?}");
    });
}
