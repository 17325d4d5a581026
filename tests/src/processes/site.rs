//! An installation of separate processes, and its HTTP API.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_bus::{Bus, BusConfig};
use sluice_proto::ids::AgentName;
use sluice_servers::Servers;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::folder::Folder;
use super::process::Process;

/// Short, so that a lost worker is noticed soon.
pub const LEASE: Duration = Duration::from_secs(2);
/// A template whose runs need nobody but a person.
pub const ASK: &str = r#"name: Ask
version: "1.0"
description: Asks a person
steps:
  - id: gate
    type: hitl_approval
    risk_assessment: { type: override, risk_level: medium, approver_role: tech_lead }
    on_approved: workflow_complete
    on_rejected: workflow_failed
"#;
/// What signs events here.
pub const SECRET: &str = "a secret of the tests of processes";

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Separate processes on one NATS and one PostgreSQL.
#[derive(Debug)]
pub struct Site {
    /// Its files and logs.
    pub folder: Folder,
    /// First token of its subjects.
    pub prefix: String,
    /// Where its roles find NATS.
    pub nats_url: String,
    /// Where its coordinators find PostgreSQL.
    pub database_url: String,
    /// The same, as the owner.
    pub database_owner_url: String,
    /// The HTTP API, once there is a gateway.
    pub api: Api,
}

impl Site {
    /// On the servers that all tests share, with a database and subjects of its own.
    pub async fn shared(name: &str) -> Self {
        let prefix = format!("p{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self::shared_as(name, &prefix).await
    }

    /// The same, under these subjects.
    pub async fn shared_as(name: &str, prefix: &str) -> Self {
        let (database_url, database_owner_url) =
            crate::database(&format!("{name}-{}", std::process::id())).await;
        Self {
            folder: Folder::new(name),
            prefix: prefix.to_owned(),
            nats_url: crate::servers().await.nats_url(),
            database_url,
            database_owner_url,
            api: Api::nowhere(),
        }
    }

    /// On servers that the test may hurt, with a database and subjects of its own.
    pub async fn apart(name: &str, servers: &Servers) -> Self {
        let prefix = format!("p{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (database_url, database_owner_url) = crate::database_on(servers, &prefix).await;
        Self { prefix, database_url, database_owner_url, ..Self::on(name, servers) }
    }

    /// On servers of its own, which the test may hurt.
    #[must_use]
    pub fn on(name: &str, servers: &Servers) -> Self {
        Self {
            folder: Folder::new(name),
            prefix: "sluice".to_owned(),
            nats_url: servers.nats_url(),
            database_url: servers.database_url(),
            database_owner_url: servers.database_owner_url(),
            api: Api::nowhere(),
        }
    }

    /// Adds a template, by its name without suffix.
    pub fn template(&self, name: &str, text: &str) {
        self.folder.write(&format!("templates/{name}.workflow.yaml"), text);
    }

    /// Sets `agents.yaml`.
    pub fn agents(&self, yaml: &str) {
        self.folder.write("agents.yaml", yaml);
    }

    /// Starts a role; `name` names its log.
    #[must_use]
    pub fn start(&self, name: &str, args: &[&str]) -> Process {
        self.start_with(name, args, &[])
    }

    /// The same with settings of its own.
    #[must_use]
    pub fn start_with(&self, name: &str, args: &[&str], own: &[(&str, String)]) -> Process {
        let mut environment = self.environment();
        environment.retain(|(variable, _)| own.iter().all(|(other, _)| other != variable));
        let environment: Vec<(&str, String)> =
            environment.into_iter().chain(own.iter().cloned()).collect();
        Process::sluice(self.folder.path(), &format!("{name}.log"), args, &environment)
    }

    /// What every role here is started with.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let free = "127.0.0.1:0".to_owned();
        vec![
            ("SLUICE_NATS_URL", self.nats_url.clone()),
            ("SLUICE_NATS_PREFIX", self.prefix.clone()),
            ("SLUICE_DATABASE_URL", self.database_url.clone()),
            ("SLUICE_DATABASE_OWNER_URL", self.database_owner_url.clone()),
            ("SLUICE_EVENT_SECRET", SECRET.to_owned()),
            ("SLUICE_LEASE", format!("{}s", LEASE.as_secs())),
            ("SLUICE_TEMPLATES_DIR", "templates".to_owned()),
            ("SLUICE_AGENTS_FILE", "agents.yaml".to_owned()),
            ("SLUICE_GATEWAY_ADDR", free.clone()),
            ("SLUICE_STATE_ADDR", free),
        ]
    }

    /// Ready when this returns.
    pub async fn coordinator(&self, name: &str) -> Process {
        let mut coordinator = self.start(name, &["coordinator"]);
        coordinator.says("coordinator is ready").await;
        coordinator
    }

    /// Ready when this returns.
    pub async fn worker(&self, name: &str, concurrency: u32) -> Process {
        let mut worker = self.start(name, &["worker", "--concurrency", &concurrency.to_string()]);
        worker.says("worker started").await;
        worker
    }

    /// Requests go to this gateway from now on.
    pub async fn gateway(&mut self) -> Process {
        let mut gateway = self.start("gateway", &["gateway"]);
        let said = gateway.says("gateway listens").await;
        let addr = said.split_whitespace().find_map(|word| word.strip_prefix("addr="));
        self.api = Api::at(&format!("http://{}", addr.unwrap()));
        gateway
    }

    /// The database, as its owner.
    pub async fn pool(&self) -> PgPool {
        pool(&self.database_owner_url).await
    }

    /// A connection of the test's own.
    pub async fn bus(&self) -> Bus {
        Bus::connect(BusConfig::new(&self.nats_url, &self.prefix, "test")).await.unwrap()
    }
}

/// A few connections to a database.
pub async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect(url).await.unwrap()
}

/// How many step commands were published since the stream was made. One that the server recognised
/// as a repetition does not count: nobody ever saw it.
pub async fn published(bus: &Bus, agent: &str) -> u64 {
    let agent = AgentName::parse(agent).unwrap();
    bus.step_lane(&agent, false).await.unwrap().last_sequence
}

/// The HTTP API at one address.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where it is.
    pub url: String,
    http: reqwest::Client,
}

impl Api {
    /// A client of this address.
    #[must_use]
    pub fn at(url: &str) -> Self {
        // The gateway answers within ten seconds whatever is away; more is a hang.
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(15));
        Self { url: url.to_owned(), http: http.build().unwrap() }
    }

    fn nowhere() -> Self {
        Self::at("http://127.0.0.1:9")
    }

    /// Status code and body; an error when the gateway is gone.
    pub async fn get(&self, path: &str) -> reqwest::Result<(u16, Value)> {
        let response = self.http.get(format!("{}{path}", self.url)).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// The same, for a POST.
    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Result<(u16, Value)> {
        let response = self.http.post(format!("{}{path}", self.url)).json(body).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// The same, for a DELETE.
    pub async fn delete(&self, path: &str) -> reqwest::Result<(u16, Value)> {
        let response = self.http.delete(format!("{}{path}", self.url)).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// Starts a run under an id of the caller's choice.
    pub async fn execute(
        &self,
        template: &str,
        id: &str,
        context: Value,
    ) -> reqwest::Result<(u16, Value)> {
        let body = json!({"template_name": template, "workflow_id": id, "context": context});
        self.post("/workflow/execute", &body).await
    }

    /// Starts a run that must be taken.
    pub async fn begin(&self, template: &str, id: &str) {
        let (status, body) = self.execute(template, id, json!({})).await.unwrap();
        assert_eq!(status, 200, "{body}");
    }

    /// Approves whatever waits for a person right now. Who is killed meanwhile is asked again later.
    pub async fn approve_all(&self) {
        let Ok((200, paused)) = self.get("/workflows?status=paused").await else { return };
        for run in paused.as_array().unwrap() {
            let path = format!("/workflow/resume/{}", run["workflow_id"].as_str().unwrap());
            let body = json!({"approval_decision": "approved", "approver": "alice"});
            let _ = self.post(&path, &body).await;
        }
    }

    /// Waits until the run has this status; fails at once when it ends with another one.
    pub async fn wait_for(&self, id: &str, expected: &str, limit: Duration) -> Value {
        let until = Instant::now() + limit;
        loop {
            let (code, state) = self.get(&format!("/workflow/status/{id}")).await.unwrap();
            let status = state["status"].as_str().unwrap_or_default();
            if status == expected {
                return state;
            }
            let ended = matches!(status, "completed" | "failed" | "rolled_back" | "cancelled");
            assert!(!ended && Instant::now() < until, "{id}: {code} {state:#}, not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
