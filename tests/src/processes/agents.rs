//! HTTP agents that take their time, with a log of every call.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// One call, as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which worker called, where workers have addresses of their own for the agents.
    pub worker: String,
    /// Who was called.
    pub agent: String,
    /// For which run.
    pub workflow_id: String,
    /// For which step.
    pub step: String,
    /// The number of the attempt.
    pub attempt: u64,
    /// The header `Idempotency-Key`.
    pub key: String,
}

/// What a call is answered with, and when.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Time it takes.
    pub after: Duration,
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// Well, after so many milliseconds.
    #[must_use]
    pub fn ok(after_ms: u64) -> Self {
        Self { after: Duration::from_millis(after_ms), status: 200, body: json!({"ok": true}) }
    }

    /// A failure that may be tried again.
    #[must_use]
    pub fn unavailable() -> Self {
        Self { after: Duration::ZERO, status: 503, body: json!({}) }
    }
}

type Script = dyn Fn(&Call) -> Answer + Send + Sync;

struct Inner {
    calls: Mutex<Vec<Call>>,
    script: Box<Script>,
    begun: watch::Sender<usize>,
    busy: watch::Sender<usize>,
    held: watch::Sender<bool>,
}

/// Agents at `POST /<name>` of a loopback port.
#[derive(Clone)]
pub struct Agents {
    inner: Arc<Inner>,
    addr: SocketAddr,
}

impl Agents {
    /// Listens; `script` answers every call.
    pub async fn start(script: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        let inner = Arc::new(Inner {
            calls: Mutex::default(),
            script: Box::new(script),
            begun: watch::Sender::new(0),
            busy: watch::Sender::new(0),
            held: watch::Sender::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/{agent}", post(answer_anybody))
            .route("/{worker}/{agent}", post(answer_worker))
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { inner, addr }
    }

    /// `agents.yaml` for HTTP agents here: each name with further keys, for example `effects: true`.
    #[must_use]
    pub fn yaml(&self, agents: &[(&str, &str)]) -> String {
        self.yaml_at("", agents)
    }

    /// The same for one worker, whose name its calls then bear.
    #[must_use]
    pub fn yaml_for(&self, worker: &str, agents: &[(&str, &str)]) -> String {
        self.yaml_at(&format!("{worker}/"), agents)
    }

    fn yaml_at(&self, folder: &str, agents: &[(&str, &str)]) -> String {
        let url = |name: &str| format!("http://{}/{folder}{name}", self.addr);
        let entries = agents.iter().map(|(name, keys)| {
            format!("  {name}: {{runtime: http, url: \"{}\", {keys}}}\n", url(name))
        });
        format!("agents:\n{}", entries.collect::<String>())
    }

    /// Nobody is answered until [`Agents::release`].
    pub fn hold(&self) {
        self.inner.held.send_replace(true);
    }

    /// Everybody is answered.
    pub fn release(&self) {
        self.inner.held.send_replace(false);
    }

    /// Every call so far, in the order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.lock().unwrap().clone()
    }

    /// Whether at least `n` calls are under way before `limit` is over.
    pub async fn is_busy_within(&self, n: usize, limit: Duration) -> bool {
        let mut busy = self.inner.busy.subscribe();
        let waiting = async { busy.wait_for(|busy| *busy >= n).await.is_ok() };
        tokio::time::timeout(limit, waiting).await.unwrap_or(false)
    }

    /// Waits for the `n`th call.
    pub async fn called(&self, n: usize, limit: Duration) {
        let mut begun = self.inner.begun.subscribe();
        let started = Instant::now();
        let waiting = tokio::time::timeout(limit, begun.wait_for(|begun| *begun >= n));
        let seen = matches!(waiting.await, Ok(Ok(_)));
        assert!(seen, "{} of {n} calls in {:?}", self.calls().len(), started.elapsed());
    }

    /// No call of this agent was repeated, not even under its key.
    pub fn assert_called_once_each(&self, agent: &str) {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for call in self.calls().into_iter().filter(|call| call.agent == agent) {
            *counts.entry(call.key).or_default() += 1;
        }
        let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        assert!(repeated.is_empty(), "{agent} was called more than once: {repeated:?}");
    }

    /// However often a step was called, its key was the same, and nobody else had it.
    pub fn assert_keys_name_steps(&self) {
        let mut keys: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for call in self.calls() {
            keys.entry((call.workflow_id, call.step)).or_default().insert(call.key);
        }
        let all: Vec<&String> = keys.values().flatten().collect();
        let distinct: BTreeSet<&String> = all.iter().copied().collect();
        assert!(keys.values().all(|keys| keys.len() == 1), "a step had several keys: {keys:?}");
        assert_eq!(distinct.len(), all.len(), "two steps shared a key");
    }
}

/// Counts a call that is under way, also when its caller vanishes.
struct Busy<'a>(&'a watch::Sender<usize>);

impl<'a> Busy<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|busy| *busy += 1);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|busy| *busy -= 1);
    }
}

async fn answer_anybody(
    State(inner): State<Arc<Inner>>,
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    answer(&inner, String::new(), agent, &headers, &body).await
}

async fn answer_worker(
    State(inner): State<Arc<Inner>>,
    Path((worker, agent)): Path<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    answer(&inner, worker, agent, &headers, &body).await
}

async fn answer(
    inner: &Inner,
    worker: String,
    agent: String,
    headers: &HeaderMap,
    body: &str,
) -> Response {
    let command: Value = serde_json::from_str(body).unwrap();
    let text = |field: &str| command[field].as_str().unwrap().to_owned();
    let call = Call {
        worker,
        agent,
        workflow_id: text("workflow_id"),
        step: text("step_id"),
        attempt: command["attempt"].as_u64().unwrap(),
        key: headers["idempotency-key"].to_str().unwrap().to_owned(),
    };
    let _busy = Busy::new(&inner.busy);
    inner.calls.lock().unwrap().push(call.clone());
    inner.begun.send_modify(|begun| *begun += 1);
    let _ = inner.held.subscribe().wait_for(|held| !held).await;
    let answer = (inner.script)(&call);
    tokio::time::sleep(answer.after).await;
    (StatusCode::from_u16(answer.status).unwrap(), axum::Json(answer.body)).into_response()
}
