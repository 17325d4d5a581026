//! One NATS for all tests, which stay apart by their subject prefixes; a scripted coordinator; and an
//! HTTP client that sends whatever it is told to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use sluice_bus::{Actor, Bus, BusConfig};
use sluice_gateway::{Gateway, GatewayConfig};
use sluice_proto::api::verb;
use sluice_proto::error::ApiError;
use sluice_servers::{Options, Servers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// Outlives every test, because the servers' supervision runs on it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static SHARED: Mutex<Weak<Nats>> = Mutex::new(Weak::new());
static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) const VERBS: [&str; 10] = [
    verb::WORKFLOW_EXECUTE,
    verb::WORKFLOW_STATUS,
    verb::WORKFLOW_STATE,
    verb::WORKFLOW_EVENTS,
    verb::WORKFLOW_LIST,
    verb::WORKFLOW_RESUME,
    verb::TEMPLATE_LIST,
    verb::TEMPLATE_VALIDATE,
    verb::SYSTEM_HEALTH,
    verb::SYSTEM_METRICS,
];

/// What the coordinator does with a verb.
pub(crate) enum Answer {
    Ok(String),
    Refuse(ApiError),
    Silence,
}

/// A request as it reached the coordinator.
pub(crate) struct Seen {
    pub(crate) verb: String,
    pub(crate) body: String,
    pub(crate) actor: Actor,
}

/// Real servers in a folder of their own.
pub(crate) struct Nats {
    servers: Option<Servers>,
    folder: PathBuf,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("sluice-gateway-{}-{number}", std::process::id()));
        let servers = Servers::start(Options::for_tests(&folder)).await.unwrap();
        Self { servers: Some(servers), folder }
    }

    /// The one that tests share; it goes with the last of them.
    fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let nats = Arc::new(RUNTIME.block_on(Self::start()));
            *shared = Arc::downgrade(&nats);
            nats
        })
    }

    pub(crate) fn servers(&self) -> &Servers {
        self.servers.as_ref().unwrap()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        drop(self.servers.take());
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A gateway, and a coordinator that answers by `script`.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    _coordinator: AbortOnDropHandle<()>,
}

impl World {
    pub(crate) async fn start(
        nats: &Nats,
        change: impl FnOnce(&mut GatewayConfig),
        script: impl Fn(&str) -> Answer + Send + 'static,
    ) -> Self {
        let prefix = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let seen = Arc::default();
        let coordinator = follow(script, Arc::clone(&seen), nats, &prefix).await;
        let gateway = gateway(nats, &prefix, change).await;
        Self { gateway, seen, _coordinator: AbortOnDropHandle::new(coordinator) }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[("Content-Type", "application/json")], body).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        send(self.gateway.addr(), method, path, headers, body).await
    }

    pub(crate) fn last_seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(self.seen.lock().unwrap().last().unwrap())
    }
}

/// Runs a test on the shared servers.
pub(crate) fn test<F: Future<Output = ()>>(body: impl FnOnce(Arc<Nats>) -> F) {
    let nats = Nats::shared();
    RUNTIME.block_on(body(nats));
}

/// Runs a test that brings its own servers, or needs none.
pub(crate) fn test_alone(body: impl Future<Output = ()>) {
    RUNTIME.block_on(body);
}

/// The golden file of this name, as one line.
pub(crate) fn golden(name: &str) -> String {
    let path = format!("{}/../proto/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let value: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    value.to_string()
}

pub(crate) fn answer_well(verb: &str) -> Answer {
    Answer::Ok(match verb {
        verb::WORKFLOW_EXECUTE => golden("execute_response"),
        verb::WORKFLOW_STATUS => golden("status_response.paused"),
        verb::WORKFLOW_STATE => golden("state_response"),
        verb::WORKFLOW_EVENTS => golden("events_response"),
        verb::WORKFLOW_LIST => golden("list_response"),
        verb::WORKFLOW_RESUME => golden("resume_response"),
        verb::TEMPLATE_LIST => golden("templates_response"),
        verb::SYSTEM_HEALTH => golden("health_response"),
        verb::SYSTEM_METRICS => {
            "# TYPE sluice_runs_total counter\nsluice_runs_total 3\n".to_owned()
        }
        other => panic!("nobody asked for {other}"),
    })
}

async fn bus(nats: &Nats, prefix: &str, role: &'static str) -> Bus {
    Bus::connect(BusConfig::new(nats.servers().nats_url(), prefix, role)).await.unwrap()
}

pub(crate) async fn gateway(
    nats: &Nats,
    prefix: &str,
    change: impl FnOnce(&mut GatewayConfig),
) -> Gateway {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut config = GatewayConfig::new(bus(nats, prefix, "gateway").await, any, any);
    change(&mut config);
    Gateway::start(config).await.unwrap()
}

async fn follow(
    script: impl Fn(&str) -> Answer + Send + 'static,
    seen: Arc<Mutex<Vec<Seen>>>,
    nats: &Nats,
    prefix: &str,
) -> JoinHandle<()> {
    let bus = bus(nats, prefix, "coordinator").await;
    let mut requests = bus.api_service("0.1.0", &VERBS).await.unwrap();
    bus.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            seen.lock().unwrap().push(Seen {
                verb: request.verb.clone(),
                body: String::from_utf8(request.payload.to_vec()).unwrap(),
                actor: request.actor().unwrap().unwrap(),
            });
            match script(&request.verb) {
                Answer::Ok(body) => request.respond_ok(body).await.unwrap(),
                Answer::Refuse(error) => request.respond_error(&error).await.unwrap(),
                Answer::Silence => {}
            }
        }
    })
}

/// An answer, its header names in lower case.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    /// Status and code of a failure, whose shape is checked.
    pub(crate) fn failure(&self) -> (u16, String) {
        let body = self.json();
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
        (self.status, body["code"].as_str().unwrap().to_owned())
    }
}

pub(crate) async fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push_str(&format!("Host: {addr}\r\n"));
    }
    for (name, value) in headers.iter().filter(|(_, value)| *value != "-") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    raw(addr, &format!("{head}\r\n{body}")).await
}

/// Sends exactly this and reads until the server closes.
pub(crate) async fn raw(addr: SocketAddr, text: &str) -> Reply {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // A server that has answered early may have closed before everything was sent.
    stream.write_all(text.as_bytes()).await.ok();
    let mut reply = Vec::new();
    let reading = stream.read_to_end(&mut reply);
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the gateway hangs").ok();
    parse(&String::from_utf8(reply).unwrap())
}

fn parse(text: &str) -> Reply {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("0").parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(k, v)| (k.to_lowercase(), v.to_owned()));
    Reply { status, headers: headers.collect(), body: body.to_owned() }
}
