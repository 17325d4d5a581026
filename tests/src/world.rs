//! One installation of Sluice: coordinators, workers and a gateway in this process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_bus::{Bus, BusConfig};
use sluice_coordinator::{
    CheckpointConfig, CheckpointSink, Coordinator, CoordinatorConfig, TemplateSource,
};
use sluice_gateway::{Gateway, GatewayConfig};
use sluice_proto::checkpoint::CheckpointKey;
use sluice_proto::ids::WorkerName;
use sluice_worker::{AgentsFile, LlmSettings, Naming, Worker, WorkerConfig};
use sqlx::PgPool;

use crate::servers::{database, servers};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A secret for tests.
pub const SECRET: [u8; 32] = *b"a secret of the end-to-end tests";
/// Short, so that tests of lost leases need not wait long.
const LEASE_MS: u64 = 2_000;
/// Between two checkpoints of an open run.
const CHECKPOINT_INTERVAL_MS: u64 = 1_000;

static NEXT: AtomicU32 = AtomicU32::new(1);

/// What a [`World`] is started with.
pub struct WorldBuilder {
    templates: Vec<(String, String)>,
    agents: String,
    coordinators: usize,
    workers: usize,
    llm: Option<String>,
    lease_ms: u64,
    workflow_ttl_ms: Option<u64>,
}

/// A running installation.
pub struct World {
    /// Subject prefix, and name of the database.
    pub name: String,
    /// A connection of the test's own.
    pub bus: Bus,
    /// The database, as its owner.
    pub pool: PgPool,
    /// Where the gateway is.
    pub url: String,
    /// Where the state service is.
    pub state_url: String,
    /// For requests of the test.
    pub http: reqwest::Client,
    /// Folder of the templates.
    pub folder: PathBuf,
    database_url: String,
    database_owner_url: String,
    agents: AgentsFile,
    llm: Option<String>,
    lease_ms: u64,
    workflow_ttl_ms: Option<u64>,
    /// Key in PEM, and where checkpoints go.
    pub checkpoints: Option<(String, CheckpointSink)>,
    coordinators: Vec<Coordinator>,
    workers: Vec<Worker>,
    gateway: Option<Gateway>,
}

impl World {
    /// One coordinator, one worker, no templates, no agents.
    #[must_use]
    pub fn builder() -> WorldBuilder {
        WorldBuilder {
            templates: Vec::new(),
            agents: "agents: {}\n".to_owned(),
            coordinators: 1,
            workers: 1,
            llm: None,
            lease_ms: LEASE_MS,
            workflow_ttl_ms: None,
        }
    }

    /// The database, as the run-time role.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The database, as its owner.
    #[must_use]
    pub fn database_owner_url(&self) -> &str {
        &self.database_owner_url
    }

    /// Connects to NATS under this world's prefix.
    pub async fn connect(&self, role: &'static str) -> Bus {
        connect(&self.name, role).await
    }

    /// Starts one more coordinator.
    pub async fn start_coordinator(&mut self) {
        let config = CoordinatorConfig {
            bus: self.connect("coordinator").await,
            database_url: self.database_url.clone(),
            database_owner_url: Some(self.database_owner_url.clone()),
            templates: TemplateSource::Dir(self.folder.clone()),
            agents: self.agents.catalogue(),
            event_secret: SECRET.to_vec(),
            retired_event_secrets: Vec::new(),
            checkpoints: self.checkpoints.as_ref().map(|(key, sink)| CheckpointConfig {
                key: CheckpointKey::from_pem(key).unwrap(),
                sink: sink.clone(),
                interval_ms: CHECKPOINT_INTERVAL_MS,
            }),
            lease_ms: self.lease_ms,
            workflow_ttl_ms: self.workflow_ttl_ms,
            instance: format!("coordinator-{}", self.coordinators.len() + 1),
        };
        self.coordinators.push(Coordinator::start(config).await.unwrap());
    }

    /// Stops every coordinator.
    pub async fn stop_coordinators(&mut self) {
        for coordinator in self.coordinators.drain(..) {
            coordinator.stop().await;
        }
    }

    /// Starts one more worker.
    pub async fn start_worker(&mut self) {
        let bus = self.connect("worker").await;
        let id = format!("worker-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let llm = self.llm.as_ref().map(|base_url| LlmSettings {
            base_url: base_url.parse().unwrap(),
            api_key: "a key of the tests".to_owned().into(),
            model: "scripted-model".to_owned(),
        });
        let config = WorkerConfig {
            bus,
            agents: self.agents.clone(),
            functions: Vec::new(),
            only: None,
            concurrency: 64,
            naming: Naming::Numbered(WorkerName::parse("worker").unwrap()),
            worker_id: WorkerName::parse(&id).unwrap(),
            llm,
        };
        self.workers.push(Worker::start(config).await.unwrap());
    }

    /// Stops every worker.
    pub async fn stop_workers(&mut self) {
        for worker in self.workers.drain(..) {
            worker.stop(PATIENCE).await;
        }
    }

    /// Starts a run over HTTP and gives its id.
    pub async fn execute(&self, template: &str, context: Value) -> String {
        let (status, body) = self
            .post("/workflow/execute", &json!({"template_name": template, "context": context}))
            .await;
        assert_eq!(status, 200, "{body}");
        body["workflow_id"].as_str().unwrap().to_owned()
    }

    /// Decides what a run waits for; gives the status code and the answer.
    pub async fn resume(&self, id: &str, body: Value) -> (u16, Value) {
        self.post(&format!("/workflow/resume/{id}"), &body).await
    }

    /// A GET of the gateway: status code and JSON body.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// A POST to the gateway: status code and JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response =
            self.http.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// A DELETE of the gateway: status code and JSON body.
    pub async fn delete(&self, path: &str) -> (u16, Value) {
        let response = self.http.delete(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// State of a run.
    pub async fn status(&self, id: &str) -> Value {
        let (status, body) = self.get(&format!("/workflow/status/{id}")).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Waits until a run has this status; fails at once when it ends with another one.
    pub async fn wait_for(&self, id: &str, expected: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let state = self.status(id).await;
            let status = state["status"].as_str().unwrap();
            if status == expected {
                return state;
            }
            let ended = matches!(status, "completed" | "failed" | "rolled_back" | "cancelled");
            assert!(
                !ended && Instant::now() < until,
                "{id} is {status}, not {expected}: {state:#}\n{:#}",
                self.events(id).await
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a run has ended for the n-th time, and checks how.
    pub async fn wait_for_end(&self, id: &str, expected: &str, n: usize) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let actions = self.actions(id).await;
            if actions.iter().filter(|action| *action == "complete_workflow").count() >= n {
                let state = self.status(id).await;
                assert_eq!(state["status"], expected, "{state:#}");
                return state;
            }
            assert!(Instant::now() < until, "{id} has not ended {n} times: {actions:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The events of a run, as recorded.
    pub async fn events(&self, id: &str) -> Value {
        let rows: Vec<(String,)> = sqlx::query_as(
            "select convert_from(body, 'UTF8') from every_event where workflow_id = $1 order by sequence",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.iter().map(|(body,)| serde_json::from_str::<Value>(body).unwrap()).collect()
    }

    /// `action` or `action:step` of each event of a run.
    pub async fn actions(&self, id: &str) -> Vec<String> {
        let events = self.events(id).await;
        let name = |event: &Value| match event["step_id"].as_str() {
            Some(step) => format!("{}:{step}", event["action"].as_str().unwrap()),
            None => event["action"].as_str().unwrap().to_owned(),
        };
        events.as_array().unwrap().iter().map(name).collect()
    }

    /// Ends everything, after checking that nothing of ended runs is left behind.
    pub async fn stop(mut self) {
        self.assert_nothing_left().await;
        if let Some(gateway) = self.gateway.take() {
            gateway.stop().await;
        }
        self.stop_workers().await;
        self.stop_coordinators().await;
        self.pool.close().await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    async fn assert_nothing_left(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left: Vec<(String, String)> = sqlx::query_as(
                "select 'attempt', a.workflow_id || ' ' || a.step_path from attempts a join runs r using (workflow_id)
                  where r.completed_at is not null
                 union all
                 select 'lock', l.name from locks l join runs r using (workflow_id) where r.completed_at is not null
                 union all
                 select 'waiter', w.name from lock_waiters w join runs r using (workflow_id)
                  where r.completed_at is not null
                 union all
                 select 'approval', p.approval_id from approvals p join runs r using (workflow_id)
                  where r.completed_at is not null and p.status = 'pending'
                 union all
                 select 'timer', t.step_path from timers t join runs r using (workflow_id)
                  where r.completed_at is not null
                 union all
                 select 'child wait', w.step_path from child_waits w join runs r using (workflow_id)
                  where r.completed_at is not null",
            )
            .fetch_all(&self.pool)
            .await
            .unwrap();
            // Deliveries may outlive their run for a moment; nothing else may.
            let still: Vec<_> = left
                .iter()
                .filter(|(kind, what)| !(kind == "attempt" && what.contains(".notify.")))
                .collect();
            assert!(still.is_empty(), "left behind by ended runs: {still:?}");
            if left.is_empty() || self.workers.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "deliveries that never end: {left:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl WorldBuilder {
    /// Adds a template, by its name without suffix.
    #[must_use]
    pub fn template(mut self, name: &str, text: &str) -> Self {
        self.templates.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Sets the text of `agents.yaml`.
    #[must_use]
    pub fn agents(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.agents);
        self
    }

    /// Sets how many coordinators start.
    #[must_use]
    pub fn coordinators(mut self, n: usize) -> Self {
        self.coordinators = n;
        self
    }

    /// Sets how many workers start.
    #[must_use]
    pub fn workers(mut self, n: usize) -> Self {
        self.workers = n;
        self
    }

    /// Sets where the model is.
    #[must_use]
    pub fn llm(mut self, base_url: String) -> Self {
        self.llm = Some(base_url);
        self
    }

    /// Sets after how long without any event a run counts as abandoned.
    #[must_use]
    pub fn workflow_ttl_ms(mut self, ttl_ms: u64) -> Self {
        self.workflow_ttl_ms = Some(ttl_ms);
        self
    }

    /// Sets how long a worker may be silent.
    #[must_use]
    pub fn lease_ms(mut self, lease_ms: u64) -> Self {
        self.lease_ms = lease_ms;
        self
    }

    /// Starts everything.
    pub async fn start(self) -> World {
        let name = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = servers().await.data().join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        for (template, text) in &self.templates {
            std::fs::write(folder.join(format!("{template}.workflow.yaml")), text).unwrap();
        }
        let agents_file = folder.join("agents.yaml");
        std::fs::write(&agents_file, &self.agents).unwrap();
        let (database_url, database_owner_url) = database(&name).await;
        let mut world = World {
            bus: connect(&name, "test").await,
            pool: PgPool::connect(&database_owner_url).await.unwrap(),
            url: String::new(),
            state_url: String::new(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            agents: AgentsFile::load(&agents_file).unwrap(),
            llm: self.llm,
            lease_ms: self.lease_ms,
            workflow_ttl_ms: self.workflow_ttl_ms,
            checkpoints: None,
            coordinators: Vec::new(),
            workers: Vec::new(),
            gateway: None,
            name,
            folder,
            database_url,
            database_owner_url,
        };
        for _ in 0..self.coordinators {
            world.start_coordinator().await;
        }
        for _ in 0..self.workers {
            world.start_worker().await;
        }
        let free = "127.0.0.1:0".parse().unwrap();
        let config = GatewayConfig::new(world.connect("gateway").await, free, free);
        let gateway = Gateway::start(config).await.unwrap();
        world.url = format!("http://{}", gateway.addr());
        world.state_url = format!("http://{}", gateway.state_addr());
        world.gateway = Some(gateway);
        world
    }
}

async fn connect(prefix: &str, role: &'static str) -> Bus {
    let config = BusConfig::new(servers().await.nats_url(), prefix, role);
    Bus::connect(config).await.unwrap()
}
