//! Scripted HTTP agents, and a scripted server that speaks the OpenAI protocol.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// One call of an agent.
#[derive(Clone, Debug)]
pub struct Call {
    /// Agent name.
    pub agent: String,
    /// The step command.
    pub command: Value,
    /// The `Idempotency-Key` header.
    pub idempotency_key: String,
    /// The `traceparent` header.
    pub traceparent: String,
}

impl Call {
    /// Path of the step.
    #[must_use]
    pub fn step(&self) -> &str {
        self.command["step_id"].as_str().unwrap_or_default()
    }

    /// Execution of its visit, from 1.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.command["attempt"].as_u64().unwrap_or_default()
    }
}

/// What a scripted agent answers: a status and a body. With status 0 it never does.
pub type Reply = (u16, Value);
/// Decides the answer to a call.
pub type Script = dyn Fn(&Call) -> Reply + Send + Sync;

struct Inner {
    calls: Mutex<Vec<Call>>,
    script: Box<Script>,
    answers: Mutex<Vec<(Vec<String>, Vec<Value>)>>,
    raw_answers: Mutex<HashMap<String, (u16, String)>>,
    prompts: Mutex<Vec<Value>>,
    held: watch::Sender<HashSet<String>>,
    abandoned: Mutex<Vec<String>>,
}

/// Agents on a loopback port: `POST /agents/<name>` and `POST /v1/chat/completions`.
#[derive(Clone)]
pub struct Agents {
    inner: Arc<Inner>,
    addr: SocketAddr,
}

impl Agents {
    /// Starts agents that answer what `script` says.
    pub async fn start(script: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let inner = Arc::new(Inner {
            calls: Mutex::default(),
            script: Box::new(script),
            answers: Mutex::default(),
            raw_answers: Mutex::default(),
            prompts: Mutex::default(),
            held: watch::Sender::default(),
            abandoned: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/agents/{agent}", post(call))
            .route("/v1/chat/completions", post(complete))
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { inner, addr }
    }

    /// Agents that answer every call with `{"ok": true}`.
    pub async fn agreeable() -> Self {
        Self::start(|_| (200, json!({"ok": true}))).await
    }

    /// An `agents.yaml` in which each of these is an HTTP agent here: name, and whether it has effects.
    #[must_use]
    pub fn yaml(&self, agents: &[(&str, bool)]) -> String {
        let entries = agents.iter().map(|(name, effects)| {
            format!(
                "  {name}:\n    runtime: http\n    url: http://{}/agents/{name}\n    effects: {effects}\n",
                self.addr
            )
        });
        format!("agents:\n{}", entries.collect::<String>())
    }

    /// Base URL of the model server.
    #[must_use]
    pub fn llm_base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// The model will answer prompts that contain `needle` with these texts in turn; the last one
    /// stays. An object with `http_status` is no answer but that status.
    pub fn answer(&self, needle: &str, texts: &[Value]) {
        self.answer_all(&[needle.to_owned()], texts);
    }

    /// The same for prompts that contain every one of these.
    pub fn answer_all(&self, needles: &[String], texts: &[Value]) {
        let mut answers = self.inner.answers.lock().unwrap();
        answers.retain(|(known, _)| known != needles);
        answers.push((needles.to_vec(), texts.to_vec()));
    }

    /// The model server will answer prompts that contain `needle` with this status and body,
    /// whatever the protocol says.
    pub fn answer_raw(&self, needle: &str, status: u16, body: &str) {
        self.inner.raw_answers.lock().unwrap().insert(needle.to_owned(), (status, body.to_owned()));
    }

    /// Calls for this step are not answered until it is released.
    pub fn hold(&self, step: &str) {
        self.inner.held.send_modify(|held| {
            held.insert(step.to_owned());
        });
    }

    /// Answers what is held and what is still to come.
    pub fn release(&self, step: &str) {
        self.inner.held.send_modify(|held| {
            held.remove(step);
        });
    }

    /// Steps whose calls were broken off by the caller while they were held.
    #[must_use]
    pub fn abandoned(&self) -> Vec<String> {
        self.inner.abandoned.lock().unwrap().clone()
    }

    /// Waits until this step has been called this often.
    pub async fn called(&self, step: &str, times: usize) {
        let until = std::time::Instant::now() + crate::PATIENCE;
        while self.calls().iter().filter(|call| call.step() == step).count() < times {
            assert!(std::time::Instant::now() < until, "{step} is not called {times} times");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.lock().unwrap().clone()
    }

    /// Every request to the model so far.
    #[must_use]
    pub fn prompts(&self) -> Vec<Value> {
        self.inner.prompts.lock().unwrap().clone()
    }
}

async fn call(
    State(inner): State<Arc<Inner>>,
    Path(agent): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let call = Call {
        agent,
        command: serde_json::from_str(&body).unwrap_or(Value::Null),
        idempotency_key: header("idempotency-key").to_owned(),
        traceparent: header("traceparent").to_owned(),
    };
    inner.calls.lock().unwrap().push(call.clone());
    let mut pending =
        Pending { inner: Arc::clone(&inner), step: call.step().to_owned(), over: false };
    let step = call.step();
    let released = inner.held.subscribe().wait_for(|held| !held.contains(step)).await.is_ok();
    pending.over = released;
    let (status, body) = (inner.script)(&call);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

/// A call that may be broken off while it is held.
struct Pending {
    inner: Arc<Inner>,
    step: String,
    over: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.over {
            self.inner.abandoned.lock().unwrap().push(self.step.clone());
        }
    }
}

async fn complete(State(inner): State<Arc<Inner>>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    inner.prompts.lock().unwrap().push(request.clone());
    let prompt = request["messages"].to_string();
    let raw = inner.raw_answers.lock().unwrap();
    if let Some((_, (status, body))) =
        raw.iter().find(|(needle, _)| prompt.contains(needle.as_str()))
    {
        return (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response();
    }
    drop(raw);
    let mut answers = inner.answers.lock().unwrap();
    let is_meant = |needles: &[String]| needles.iter().all(|needle| prompt.contains(needle));
    let found = answers.iter_mut().find(|(needles, _)| is_meant(needles));
    let Some((_, texts)) = found else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no answer is scripted").into_response();
    };
    let text = if texts.len() > 1 { texts.remove(0) } else { texts[0].clone() };
    if let Some(status) = text["http_status"].as_u64() {
        let status = StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap();
        return (status, "as scripted").into_response();
    }
    let content = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
    axum::Json(json!({
        "id": "scripted",
        "model": "scripted-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }))
    .into_response()
}
