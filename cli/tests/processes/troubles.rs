//! What the guide says about troubles, line by line: cancelling, retrying, locks of an environment, and
//! runs that are stuck on one. Where the guide's command does nothing here, the better one is tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::processes::agents::{Agents, Answer, Call};
use sluice_tests::processes::process::Process;
use sluice_tests::processes::site::Site;
use sluice_tests::run;
use sqlx::Row;

use super::shell::Shell;

const LIMIT: Duration = Duration::from_secs(60);
const INFRASTRUCTURE: &str = include_str!("../../../templates/infrastructure.workflow.yaml");
const DEPLOY: &str = r#"name: Deploy
version: "1.0"
description: Builds, then deploys under a lock
steps:
  - {id: build, type: agent_call, agent: documentation, on_success: deploy}
  - {id: deploy, type: agent_call, agent: infrastructure, resource_lock: "deployment:production", on_success: workflow_complete}
"#;

/// Plans that need a person, and deployments that work once they may.
fn answer(call: &Call, deploys: &AtomicBool) -> Answer {
    let body = match call.step.as_str() {
        "deploy" if !deploys.load(Ordering::SeqCst) => return Answer::unavailable(),
        "analyze_changes" => json!({"requested": [{"action": "create", "name": "database"}]}),
        "generate_plan" => {
            json!({"plan_id": "p1", "environment": "staging", "add": 1, "change": 0, "destroy": 0,
                   "actions": ["create database"], "summary": "1 to add"})
        }
        "apply_changes" => {
            json!({"status": "healthy", "healthy": true, "issue_count": 0, "issues": [],
                   "changes": ["create database"], "resources": {}, "summary": "1 applied"})
        }
        _ => json!({"summary": "done"}),
    };
    Answer { body, ..Answer::ok(0) }
}

struct Trouble {
    site: Site,
    shell: Shell,
    agents: Agents,
    deploys: Arc<AtomicBool>,
    _processes: [Process; 3],
}

impl Trouble {
    async fn start(name: &str) -> Self {
        let deploys = Arc::new(AtomicBool::new(false));
        let known = Arc::clone(&deploys);
        let agents = Agents::start(move |call| answer(call, &known)).await;
        let mut site = Site::shared(name).await;
        site.template("infrastructure", INFRASTRUCTURE);
        site.template("deploy", DEPLOY);
        let traits = [("infrastructure", "effects: true"), ("documentation", "effects: false")];
        site.agents(&agents.yaml(&traits));
        let coordinator = site.coordinator("coordinator").await;
        let worker = site.worker("worker", 8).await;
        let gateway = site.gateway().await;
        let shell = Shell::new(&site.folder, &site.api.url);
        Self { site, shell, agents, deploys, _processes: [coordinator, worker, gateway] }
    }

    /// Standard output of a line that must work.
    async fn line(&self, line: &str) -> String {
        let said = self.shell.run(line).await;
        assert_eq!(said.code, 0, "{line}: {said:?}");
        said.out
    }

    async fn json(&self, line: &str) -> Value {
        self.shell.run(line).await.json()
    }

    async fn is(&self, id: &str, status: &str) -> Value {
        self.site.api.wait_for(id, status, LIMIT).await
    }

    /// Waits until a run waits for a lock.
    async fn queues(&self, id: &str) -> Value {
        let until = std::time::Instant::now() + LIMIT;
        loop {
            let state = self.json(&format!("task workflow:status WORKFLOW_ID={id}")).await;
            if !state["waiting_for_lock"].is_null() {
                return state;
            }
            assert!(std::time::Instant::now() < until, "{state:#}");
        }
    }

    /// Who holds a lock, and who waits for it.
    async fn lock(&self, name: &str) -> (Value, Vec<Value>) {
        let answer = self.json("sluice locks -o json").await;
        let locks = answer["locks"].as_array().unwrap();
        let lock = locks.iter().find(|lock| lock["name"] == name).cloned().unwrap_or_default();
        let waiters = lock["waiters"].as_array().cloned().unwrap_or_default();
        let ids = waiters.iter().map(|waiter| waiter["workflow_id"].clone()).collect();
        (lock["holder"]["workflow_id"].clone(), ids)
    }

    async fn starts_infrastructure(&self, environment: &str) -> String {
        let line = format!(
            r#"task workflow:infrastructure CHANGES="Add PostgreSQL database" ENV={environment}"#
        );
        self.shell.starts(&line, "infra").await
    }
}

#[test]
fn cancelling_cleans_up_as_the_guide_says() {
    run(async {
        let it = Trouble::start("cancelling").await;
        let context = json!({"changes_description": "Add a database", "environment": "staging"});
        let (code, _) = it.site.api.execute("infrastructure", "abc-123", context).await.unwrap();
        assert_eq!(code, 200);
        it.is("abc-123", "paused").await;
        let line = r#"curl -X DELETE "http://localhost:8001/workflow/abc-123?reason=Emergency%20fix%20deployed&cancelled_by=ops@example.com""#;
        let cancelled = it.json(line).await;
        assert_eq!(
            [
                &cancelled["workflow_id"],
                &cancelled["status"],
                &cancelled["reason"],
                &cancelled["cancelled_by"]
            ],
            [
                &json!("abc-123"),
                &json!("cancelled"),
                &json!("Emergency fix deployed"),
                &json!("ops@example.com")
            ]
        );
        let cleanup = &cancelled["cleanup"];
        assert_eq!(
            [
                &cleanup["locks_released"],
                &cleanup["approvals_cancelled"],
                &cleanup["child_workflows_cancelled"],
                &cleanup["errors"]
            ],
            [&json!(1), &json!(1), &json!(0), &json!([])]
        );
        assert_eq!(it.lock("infrastructure:staging").await, (Value::Null, vec![]));
        let line = "task workflow:events WORKFLOW_ID=abc-123 ACTION=CANCEL_WORKFLOW";
        assert_eq!(it.json(line).await["total_events"], 1, "there is an audit log entry");

        // While an agent is at work: it is told.
        it.agents.hold();
        it.site.api.begin("deploy", "abc-124").await;
        it.agents.called(3, LIMIT).await;
        let line = r#"task workflow:cancel \
  WORKFLOW_ID=abc-124 \
  REASON="Emergency fix deployed" \
  CANCELLED_BY="ops@example.com""#;
        let cancelled = it.json(line).await;
        assert_eq!(
            [&cancelled["status"], &cancelled["reason"], &cancelled["cleanup"]["agents_notified"]],
            [&json!("cancelled"), &json!("Emergency fix deployed"), &json!(1)]
        );
        it.agents.release();
        let status = it.json("task workflow:status WORKFLOW_ID=abc-124").await;
        assert_eq!(status["status"], "cancelled", "a late answer changes nothing");
    });
}

#[test]
fn a_failed_run_goes_on_as_the_guide_says() {
    run(async {
        let it = Trouble::start("retrying").await;
        it.site.api.begin("deploy", "abc-123").await;
        it.is("abc-123", "failed").await;
        let curl = r#"curl -X POST "http://localhost:8001/workflow/abc-123/retry-from/deploy?max_retries=3""#;
        let first = it.json(curl).await;
        assert_eq!((&first["retry_attempt"], &first["backoff_delay"]), (&json!(1), &json!(2.0)));
        it.is("abc-123", "failed").await;
        it.deploys.store(true, Ordering::SeqCst);
        let line = "task workflow:retry WORKFLOW_ID=abc-123 STEP_ID=deploy MAX_RETRIES=3";
        let second = it.json(line).await;
        // The guide's sample, to the letter.
        let sample = json!({
            "workflow_id": "abc-123", "step_id": "deploy", "retry_attempt": 2, "max_retries": 3,
            "backoff_delay": 4.0, "status": "retrying"
        });
        for (field, expected) in sample.as_object().unwrap() {
            assert_eq!(second[field], *expected, "{field}");
        }
        it.is("abc-123", "completed").await;
        let steps: Vec<String> = it.agents.calls().into_iter().map(|call| call.step).collect();
        assert_eq!(steps, ["build", "deploy", "deploy", "deploy"], "what came before stands");
        let refused = it.json(curl).await;
        assert!(refused["detail"].as_str().unwrap().contains("only a failed run"), "{refused}");
    });
}

#[test]
fn an_environment_is_changed_by_one_run_at_a_time_and_a_stuck_lock_is_freed() {
    run(async {
        let it = Trouble::start("locks").await;
        let lock = "infrastructure:staging";
        let holder = it.starts_infrastructure("staging").await;
        it.is(&holder, "paused").await;
        let waiter = it.starts_infrastructure("staging").await;
        let state = it.queues(&waiter).await;
        assert_eq!(
            (&state["status"], &state["current_step"]),
            (&json!("running"), &json!("generate_plan"))
        );
        assert_eq!(it.lock(lock).await, (json!(holder), vec![json!(waiter)]));
        let other = it.starts_infrastructure("production").await;
        it.is(&other, "paused").await;

        // What the guide says against it knows nothing of these locks.
        let pool = it.site.pool().await;
        let listed = sqlx::query("SELECT * FROM pg_locks WHERE locktype = 'advisory';");
        for row in listed.fetch_all(&pool).await.unwrap() {
            assert!(row.try_get::<Option<i32>, _>("pid").is_ok(), "processes, no runs");
        }
        sqlx::query("SELECT pg_advisory_unlock_all();").execute(&pool).await.unwrap();
        assert_eq!(it.lock(lock).await, (json!(holder), vec![json!(waiter)]));

        // This does.
        let why = it.line(&format!("sluice why {waiter}")).await;
        assert!(why.contains(lock) && why.contains(&holder), "{why}");
        let table = it.line("sluice locks").await;
        assert!(
            table.contains(lock) && table.contains(&holder) && table.contains(&waiter),
            "{table}"
        );
        let freed = it
            .line(&format!(r#"sluice locks release {lock} --reason "its author has left""#))
            .await;
        assert!(freed.contains(&format!("taken from {holder}")), "{freed}");
        assert!(freed.contains(&format!("now held by {waiter}")), "{freed}");
        let line = format!("task workflow:status WORKFLOW_ID={waiter}");
        it.is(&waiter, "paused").await;
        assert_eq!(it.json(&line).await["current_step"], "approval_gate");
        let line = format!("task workflow:events WORKFLOW_ID={holder} ACTION=RELEASE_LOCK");
        let events = it.json(&line).await;
        assert_eq!(events["events"][0]["data"]["forced"]["reason"], "its author has left");

        // Nothing is applied without the lock: who lost it waits for it.
        it.json(&format!("task workflow:resume WORKFLOW_ID={holder} DECISION=approved")).await;
        it.queues(&holder).await;
        assert_eq!(it.lock(lock).await, (json!(waiter), vec![json!(holder)]));
        // Ending the run that holds it hands it over, too.
        it.json(&format!("task workflow:cancel WORKFLOW_ID={waiter}")).await;
        it.is(&holder, "completed").await;
        assert_eq!(it.lock(lock).await, (Value::Null, vec![]));
    });
}
