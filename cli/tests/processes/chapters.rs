//! The guide's chapters about the record and about audits, line by line, against a run that had a retry, an
//! approval, a wait for a lock, a rollback and an annotation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::processes::agents::{Agents, Answer};
use sluice_tests::processes::process::Process;
use sluice_tests::processes::site::Site;
use sluice_tests::run;

use super::shell::{Said, Shell};

const LIMIT: Duration = Duration::from_secs(60);
const SUPPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../support");
const RICH: &str = r#"name: Rich
version: "1.0"
description: Has everything in its record
steps:
  - {id: review, type: agent_call, agent: documentation, on_success: gate}
  - {id: gate, type: hitl_approval, risk_assessment: {type: override, risk_level: high, approver_role: tech_lead}, on_approved: deploy, on_rejected: workflow_failed}
  - {id: deploy, type: agent_call, agent: documentation, resource_lock: "deployment:x", on_success: workflow_complete, on_failure: rollback_deploy}
  - {id: rollback_deploy, type: agent_call, agent: documentation, payload: {action: rollback}, resource_lock: "deployment:x", on_success: workflow_failed}
error_handling:
  - {step: review, max_retries: 1}
  - {step: deploy, max_retries: 0}
"#;
const HOLDER: &str = r#"name: Holder
version: "1.0"
description: Holds the lock meanwhile
steps:
  - {id: ask, type: hitl_approval, resource_lock: "deployment:x", risk_assessment: {type: override, risk_level: low, approver_role: tech_lead}, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;

struct Chapter {
    site: Site,
    shell: Shell,
    path: String,
    _processes: [Process; 3],
}

impl Chapter {
    /// `abc-123` has been rolled back.
    async fn start(name: &str) -> Self {
        let failed_once = AtomicBool::new(false);
        let agents = Agents::start(move |call| match call.step.as_str() {
            "review" if !failed_once.swap(true, Ordering::SeqCst) => Answer::unavailable(),
            "deploy" => Answer {
                status: 400,
                body: json!({"error": {"message": "no capacity"}}),
                ..Answer::ok(0)
            },
            _ => Answer::ok(0),
        })
        .await;
        let mut site = Site::shared(name).await;
        site.template("rich", RICH);
        site.template("holder", HOLDER);
        site.agents(&agents.yaml(&[("documentation", "effects: false")]));
        let coordinator = site.coordinator("coordinator").await;
        let worker = site.worker("worker", 8).await;
        let gateway = site.gateway().await;
        let shell = Shell::new(&site.folder, &site.api.url);
        let path = with_python(&site);
        let it = Self { site, shell, path, _processes: [coordinator, worker, gateway] };
        it.roll_back().await;
        it
    }

    async fn roll_back(&self) {
        let api = &self.site.api;
        api.begin("holder", "holder-1").await;
        api.wait_for("holder-1", "paused", LIMIT).await;
        api.begin("rich", "abc-123").await;
        api.wait_for("abc-123", "paused", LIMIT).await;
        let decision = json!({"approval_decision": "approved", "approver": "ada", "approver_role": "tech_lead"});
        assert_eq!(api.post("/workflow/resume/abc-123", &decision).await.unwrap().0, 200);
        let until = std::time::Instant::now() + LIMIT;
        while api.get("/workflow/status/abc-123").await.unwrap().1["waiting_for_lock"].is_null() {
            assert!(std::time::Instant::now() < until, "it does not wait for the lock");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(api.post("/workflow/resume/holder-1", &decision).await.unwrap().0, 200);
        api.wait_for("abc-123", "rolled_back", LIMIT).await;
    }

    async fn run(&self, line: &str) -> Said {
        // An auditor who checks a file has the secret.
        let own = self.site.environment();
        let secret = own.iter().find(|(name, _)| *name == "SLUICE_EVENT_SECRET").unwrap();
        let own = [("PATH", self.path.as_str()), (secret.0, secret.1.as_str())];
        self.shell.run_with(line, &own).await
    }

    /// Standard output of a line that must work.
    async fn line(&self, line: &str) -> String {
        let said = self.run(line).await;
        assert_eq!(said.code, 0, "{line}: {said:?}");
        said.out
    }

    async fn json(&self, line: &str) -> Value {
        self.run(line).await.json()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.site.folder.path().join(name)).unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.site.folder.path().join(name)).unwrap()
    }

    /// The timeline, approvals with roles, locks, errors with retries, and what was verified; in a document that
    /// other programs find sound, tagged, and complete with its fonts.
    async fn report_says_what_the_guide_lists(&self) {
        let text = self.line("pdftotext -layout audit_report.pdf -").await;
        for part in [
            "INTACT",
            "Timeline",
            "waits for a lock",
            "Approvals",
            "tech_lead",
            "Locks",
            "deployment:x",
            "Errors, retries and rollbacks",
            "retry 1 of 1",
            "rolled back by",
            "Signatures",
        ] {
            assert!(text.contains(part), "'{part}' is not in the report: {text}");
        }
        self.line("qpdf --check audit_report.pdf").await;
        let info = self.line("pdfinfo audit_report.pdf").await;
        let tagged = info.lines().any(|l| l.starts_with("Tagged:") && l.ends_with("yes"));
        assert!(tagged && info.contains("Title: "), "{info}");
        let fonts = self.line("pdffonts audit_report.pdf").await;
        let fonts: Vec<&str> = fonts.lines().skip(2).collect();
        // Columns: name, type, encoding, emb, sub, uni, object.
        let embedded = |line: &&str| line.split_whitespace().rev().nth(4) == Some("yes");
        assert!(!fonts.is_empty() && fonts.iter().all(embedded), "{fonts:?}");
    }

    /// Files of a folder of which the name holds a text.
    fn count(&self, folder: &str, part: &str) -> usize {
        let entries = std::fs::read_dir(self.site.folder.path().join(folder)).unwrap();
        entries.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(part)).count()
    }
}

/// The guide says `python` and names the script from the root of the clone.
fn with_python(site: &Site) -> String {
    let folder = site.folder.path();
    std::os::unix::fs::symlink(SUPPORT, folder.join("support")).unwrap();
    let inherited = std::env::var_os("PATH").unwrap();
    let python = std::env::split_paths(&inherited).map(|dir| dir.join("python3"));
    let python = python.into_iter().find(|path| path.exists()).expect("python3");
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(python, bin.join("python")).unwrap();
    let task = super::shell::named_by("SLUICE_TEST_TASK", "the `task` program");
    let parent = |path: &str| std::path::Path::new(path).parent().unwrap().to_owned();
    let own = [bin, parent(env!("CARGO_BIN_EXE_sluice")), parent(&task)];
    let all = own.into_iter().chain(std::env::split_paths(&inherited));
    std::env::join_paths(all).unwrap().into_string().unwrap()
}

#[test]
fn the_chapter_about_the_record_does_what_it_says() {
    run(async {
        let it = Chapter::start("chapter-record").await;
        // View Event Log
        let all = it.json("curl http://localhost:8001/workflow/abc-123/events").await;
        let actions: Vec<&str> = all["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["action"].as_str().unwrap())
            .collect();
        for action in ["retry_step", "approve_gate", "wait_lock", "rollback_step", "release_lock"] {
            assert!(actions.contains(&action), "{action}: {actions:?}");
        }
        let line = r#"curl "http://localhost:8001/workflow/abc-123/events?limit=50&offset=0""#;
        assert_eq!(it.json(line).await["events"], all["events"]);
        let line = r#"curl "http://localhost:8001/workflow/abc-123/events?action=COMPLETE_STEP""#;
        let completed = it.json(line).await;
        let expected = actions.iter().filter(|action| **action == "complete_step").count();
        assert!(expected > 0 && completed["total_events"] == expected, "{completed}");
        let task = it.json("task workflow:events WORKFLOW_ID=abc-123").await;
        assert_eq!(task["events"], all["events"]);

        // Export Audit Report
        for (format, file) in [("json", "events.json"), ("csv", "events.csv")] {
            let line = format!(
                r#"curl "http://localhost:8001/workflow/abc-123/events/export?format={format}" > {file}"#
            );
            it.line(&line).await;
            let line = format!("task workflow:export-audit WORKFLOW_ID=abc-123 FORMAT={format}");
            let name = format!("audit_report_abc-123.{format}");
            assert!(it.line(&line).await.contains(&name));
            assert_eq!(it.read(file), it.read(&name));
        }
        let line = r#"curl "http://localhost:8001/workflow/abc-123/events/export?format=pdf" > audit_report.pdf"#;
        it.line(line).await;
        it.line("task workflow:export-audit WORKFLOW_ID=abc-123 FORMAT=pdf").await;
        let pdf = it.bytes("audit_report.pdf");
        assert!(pdf.starts_with(b"%PDF-") && pdf == it.bytes("audit_report_abc-123.pdf"));
        it.report_says_what_the_guide_lists().await;
        let exported: Value = serde_json::from_str(&it.read("events.json")).unwrap();
        assert_eq!(exported.as_array().unwrap().len(), actions.len());
        assert_eq!(it.read("events.csv").lines().count() - 1, actions.len());
        assert!(it.line("sluice verify events.json").await.starts_with("✓ abc-123: "));

        // Replay Workflow
        let replayed = it.json("curl -X POST http://localhost:8001/workflow/abc-123/replay").await;
        assert_eq!((&replayed["matches"], &replayed["differences"]), (&json!(true), &json!([])));
        let task = it.json("task workflow:replay WORKFLOW_ID=abc-123").await;
        assert_eq!(task["matches"], true);

        // Time-Travel Debugging: the guide's moment is before this run, and one is in the middle of it.
        let line = "curl http://localhost:8001/workflow/abc-123/state-at/2024-01-15T10:15:00Z";
        let before = it.json(line).await;
        let middle = all["events"][5]["timestamp"].as_str().unwrap();
        let then = it.json(&line.replace("2024-01-15T10:15:00Z", middle)).await;
        assert_ne!(before["state"], then["state"], "{before}");
        let line = format!("task workflow:time-travel WORKFLOW_ID=abc-123 TIMESTAMP={middle}");
        assert_eq!(it.json(&line).await["state"], then["state"]);

        // View Snapshots
        let kept = it.json("curl http://localhost:8001/workflow/abc-123/snapshots").await;
        assert_eq!(kept[0]["event_count"], 10, "{kept}");
        for field in ["snapshot_id", "workflow_id", "event_count", "created_at"] {
            assert!(!kept[0][field].is_null(), "{field}: {kept}");
        }
        assert_eq!(it.json("task workflow:snapshots WORKFLOW_ID=abc-123").await, kept);

        // Annotate Event: the guide's event stands for one of the run's.
        let line = r#"curl -X POST http://localhost:8001/workflow/abc-123/annotate \
  -H "Content-Type: application/json" \
  -d '{
    "operator": "alice@example.com",
    "comment": "Manually approved due to urgent customer escalation",
    "event_id": "event-uuid-789"
  }'"#;
        let line = line.replace("event-uuid-789", all["events"][4]["event_id"].as_str().unwrap());
        assert_eq!(it.json(&line).await["annotation"]["action"], "annotate");
        let line = r#"task workflow:annotate WORKFLOW_ID=abc-123 \
  OPERATOR="alice@example.com" \
  COMMENT="Manually approved due to emergency""#;
        let noted = it.json(line).await;
        let comment = &noted["annotation"]["data"]["comment"];
        assert_eq!(*comment, "Manually approved due to emergency", "{noted}");
        assert!(it.line("sluice verify abc-123").await.starts_with("✓ abc-123: "));

        // Somebody changes the record, and the report says so on every page.
        let pool = it.site.pool().await;
        for statement in [
            "alter table events disable trigger user",
            "update events set body = replace(convert_from(body, 'utf8'), 'no capacity', 'all was well')::bytea
             where workflow_id = 'abc-123'",
        ] {
            sqlx::query(statement).execute(&pool).await.unwrap();
        }
        let said = it.run("sluice export abc-123 --format pdf --file tampered.pdf").await;
        assert_eq!(said.code, 0, "{said:?}");
        let text = it.line("pdftotext tampered.pdf -").await;
        let pages = it.line("pdfinfo tampered.pdf").await;
        let pages = pages.lines().find_map(|line| line.strip_prefix("Pages:")).unwrap();
        let pages: usize = pages.trim().parse().unwrap();
        assert!(text.matches("TAMPERED").count() > pages, "{text}");
        assert!(!text.contains("INTACT") && text.contains("all was well"), "{text}");
        pool.close().await;
    });
}

#[test]
fn the_chapter_about_audits_does_what_it_says() {
    run(async {
        let it = Chapter::start("chapter-audits").await;
        let out = it.line("python support/scripts/generate_audit_reports.py").await;
        assert!(out.contains("✓ abc-123: ") && out.contains("✓ holder-1: "), "{out}");
        assert_eq!(it.count("workflow-audits", "audit_report_rich_abc-123_"), 1);
        let out = it.line("python support/scripts/generate_audit_reports.py --days 30").await;
        assert!(out.contains("runs reported: 2"), "{out}");
        let line = "python support/scripts/generate_audit_reports.py --workflow-id abc-123";
        assert!(it.line(line).await.contains("runs reported: 1"));
        assert_eq!(it.count("workflow-audits", "abc-123"), 3, "none was written over");
        let out = it.line("python support/scripts/generate_audit_reports.py --archive").await;
        assert!(out.contains("runs archived: 0, with 0 events"), "none is 90 days old: {out}");
        // As if they had ended long ago.
        let pool = it.site.pool().await;
        sqlx::query("update runs set completed_at = completed_at - interval '91 days'")
            .execute(&pool)
            .await
            .unwrap();
        let out = it.line("python support/scripts/generate_audit_reports.py --archive").await;
        assert!(out.contains("runs archived: 2, with "), "{out}");
        let out = it.line("python support/scripts/generate_audit_reports.py --compress").await;
        assert!(out.contains("runs compressed: 2"), "{out}");
        assert_eq!(it.count("workflow-audits", "archived_events_"), 2);
        let cron = "/usr/bin/python3 /opt/Dev-Tools/support/scripts/generate_audit_reports.py --archive --compress";
        let line = cron.replace("/usr/bin/python3", "python").replace("/opt/Dev-Tools/", "");
        assert!(it.line(&line).await.contains("runs compressed: 2"));
        let out = it.line("sluice verify workflow-audits/archived_events_abc-123_*.json.gz").await;
        assert!(out.starts_with("✓ abc-123: "), "{out}");
        let line = "python support/scripts/generate_audit_reports.py --workflow-id gone";
        assert_eq!(it.run(line).await.code, 1);
        // What is archived is still found.
        let all = it.json("curl http://localhost:8001/workflow/abc-123/events").await;
        assert!(all["total_events"].as_u64().unwrap() > 10, "{all}");
        pool.close().await;
    });
}
