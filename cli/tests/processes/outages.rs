//! Servers that go away in mid-run and come back.

use std::time::{Duration, Instant};

use serde_json::json;
use sluice_servers::{Options, Servers};
use sluice_tests::run;
use sqlx::PgPool;

use sluice_tests::processes::agents::{Agents, Answer};
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::process::Process;
use sluice_tests::processes::record;
use sluice_tests::processes::site::Site;

const CHAIN: &str = r#"
name: Chain
version: "1.0"
description: Acts where nothing may happen twice, acts under a key, asks a person, looks.
steps:
  - {id: act, type: agent_call, agent: actor, on_success: settle}
  - {id: settle, type: agent_call, agent: settler, resource_lock: "place:{{ context.place }}", on_success: gate}
  - id: gate
    type: hitl_approval
    risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}
    on_approved: report
    on_rejected: workflow_failed
  - {id: report, type: agent_call, agent: reader, on_success: workflow_complete}
"#;
const RUNS: usize = 40;
const AWAY: Duration = Duration::from_secs(10);
/// The gateway's own limit is ten seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
const LIMIT: Duration = Duration::from_secs(90);

/// Two coordinators, a worker and a gateway on servers that may be hurt.
struct Fragile {
    servers: Servers,
    site: Site,
    agents: Agents,
    pool: PgPool,
    _folder: Folder,
    _processes: [Process; 4],
}

impl Fragile {
    /// With runs in every state there is.
    async fn in_mid_run(name: &str) -> Self {
        let folder = Folder::new(&format!("{name}-servers"));
        let servers = Servers::start(Options::for_tests(folder.path().join("data"))).await.unwrap();
        let agents = Agents::start(|_| Answer::ok(200)).await;
        let mut site = Site::on(name, &servers);
        site.template("chain", CHAIN);
        let traits = [
            ("reader", "effects: false"),
            ("actor", "effects: true, idempotent: false"),
            ("settler", "effects: true, idempotent: true"),
        ];
        site.agents(&agents.yaml(&traits));
        let processes = [
            site.coordinator("coordinator-1").await,
            site.coordinator("coordinator-2").await,
            site.worker("worker", 4).await,
            site.gateway().await,
        ];
        let pool = site.pool().await;
        let fragile = Self { servers, site, agents, pool, _folder: folder, _processes: processes };
        for n in 0..RUNS {
            let id = format!("run-{n}");
            let (status, body) =
                fragile.site.api.execute("chain", &id, json!({"place": n % 4})).await.unwrap();
            assert_eq!(status, 200, "{body}");
        }
        // Some wait for a worker, some are at work, some hold a lock, some wait for a person.
        fragile.agents.called(RUNS, LIMIT).await;
        fragile.site.api.approve_all().await;
        fragile
    }

    /// Asks for everything for ten seconds: each answer is a 503 that names what is away, in time.
    async fn refused_meanwhile(&self, code: &str) -> usize {
        let (started, mut answers) = (Instant::now(), 0);
        while started.elapsed() < AWAY {
            let api = &self.site.api;
            let execute = json!({"template_name": "chain", "context": {"place": 9}});
            let resume = json!({"approval_decision": "approved"});
            let asked = Instant::now();
            let ((), answered) = futures::join!(
                tokio::time::sleep(Duration::from_millis(500)),
                futures::future::join_all([
                    Box::pin(async { ("execute", api.post("/workflow/execute", &execute).await) })
                        as futures::future::BoxFuture<'_, _>,
                    Box::pin(async {
                        ("resume", api.post("/workflow/resume/run-0", &resume).await)
                    }),
                    Box::pin(async { ("status", api.get("/workflow/status/run-0").await) }),
                    Box::pin(async { ("list", api.get("/workflows").await) }),
                    Box::pin(async { ("health", api.get("/health").await) }),
                    Box::pin(async { ("ready", api.get("/ready").await) }),
                ]),
            );
            assert!(asked.elapsed() < ANSWER_LIMIT, "{:?}", asked.elapsed());
            for (what, answer) in answered {
                let (status, body) = answer.unwrap();
                assert_eq!((status, &body["code"]), (503, &json!(code)), "{what}: {body}");
                assert!(!body["detail"].as_str().unwrap().is_empty(), "{what}: {body}");
                answers += 1;
            }
        }
        answers
    }

    /// All is well again, and nothing was lost.
    async fn assert_recovers(&self) {
        let (until, started) = (Instant::now() + LIMIT, Instant::now());
        while record::open_runs(&self.pool).await > 0 && Instant::now() < until {
            self.site.api.approve_all().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("all done {:?} after the server was back", started.elapsed());
        record::assert_whole(&self.pool).await;
        let completed =
            record::count(&self.pool, "select count(*) from runs where status = 'completed'").await;
        let runs = record::count(&self.pool, "select count(*) from runs").await;
        let others: Vec<(String, String, Option<String>, Option<String>)> = sqlx::query_as(
            "select workflow_id, status, failed_step, error_message from runs where status <> 'completed'",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(others.is_empty(), "of {runs} runs {completed} completed, but not {others:?}");
        assert!(usize::try_from(runs).unwrap() >= RUNS);
        self.agents.assert_called_once_each("actor");
        self.agents.assert_keys_name_steps();
        let (status, body) = self.site.api.get("/ready").await.unwrap();
        assert_eq!(status, 200, "{body}");
    }
}

#[test]
fn nats_away_for_ten_seconds() {
    run(async {
        let fragile = Fragile::in_mid_run("nats-away").await;
        fragile.servers.kill_nats().await.unwrap();
        let answers = fragile.refused_meanwhile("nats_unavailable").await;
        fragile.servers.start_nats().await.unwrap();
        fragile.assert_recovers().await;
        println!("{answers} requests were refused");
    });
}

#[test]
fn postgres_away_for_ten_seconds() {
    run(async {
        let fragile = Fragile::in_mid_run("postgres-away").await;
        fragile.servers.kill_postgres().await.unwrap();
        let answers = fragile.refused_meanwhile("database_unavailable").await;
        fragile.servers.start_postgres().await.unwrap();
        fragile.assert_recovers().await;
        println!("{answers} requests were refused");
    });
}

#[test]
fn nats_that_forgot_everything() {
    run(async {
        let fragile = Fragile::in_mid_run("nats-wiped").await;
        fragile.servers.kill_nats().await.unwrap();
        fragile.servers.wipe_nats().unwrap();
        fragile.servers.start_nats().await.unwrap();
        fragile.assert_recovers().await;
    });
}
