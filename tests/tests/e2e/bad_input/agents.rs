//! Agents that answer with something else than one JSON object, or not at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{GOOD, assert_alive};

/// Agent, and the error its run must end with.
const CASES: [(&str, &str); 21] = [
    ("text", "bad_output"),
    ("html", "bad_output"),
    ("half", "bad_output"),
    ("nothing", "bad_output"),
    ("no-content", "bad_output"),
    ("blanks", "bad_output"),
    ("list", "bad_output"),
    ("two-objects", "bad_output"),
    ("nul-bytes", "bad_output"),
    ("nul-escape", "bad_output"),
    ("nul-key", "bad_output"),
    ("no-utf8", "bad_output"),
    ("lone-surrogate", "bad_output"),
    ("large-integer", "bad_output"),
    ("deep", "bad_output"),
    ("too-much", "output_too_large"),
    ("redirect", "redirect"),
    ("never", "timeout"),
    ("drips", "timeout"),
    ("drops", "connection_lost"),
    ("breaks-off", "connection_lost"),
];

/// A server that speaks HTTP only as far as each path says, one request a connection.
struct Broken {
    addr: SocketAddr,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Broken {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that has gone away is what some of the cases are about.
                tokio::spawn(misbehave(stream, Arc::clone(&log)));
            }
        });
        Self { addr, calls }
    }

    fn yaml(&self, good: &Agents) -> String {
        let entries = CASES.iter().map(|(name, _)| {
            format!("  {name}: {{runtime: http, url: \"http://{}/{name}\"}}\n", self.addr)
        });
        good.yaml(&[("good", false)]) + &entries.collect::<String>()
    }
}

async fn misbehave(mut stream: TcpStream, log: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let request = read_request(&mut stream).await?;
    let name = request.split(['/', ' ']).nth(2).unwrap_or_default().to_owned();
    log.lock().unwrap().push(name.clone());
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let much = format!("{{\"a\":\"{}\"}}", "x".repeat(9 << 20));
    let body: &[u8] = match name.as_str() {
        "text" => b"deployed",
        "html" => b"<html><body>{\"ok\": true}</body></html>",
        "half" => b"{\"ok\": tr",
        "nothing" => b"",
        "blanks" => b" \r\n\t ",
        "list" => b"[{\"ok\": true}]",
        "two-objects" => b"{\"ok\": true}\n{\"ok\": false}",
        "nul-bytes" => b"\0\0\0\0",
        "nul-escape" => b"{\"log\": \"a\\u0000b\"}",
        "nul-key" => b"{\"a\\u0000b\": 1}",
        "no-utf8" => b"{\"log\": \"\xff\xfe\"}",
        "lone-surrogate" => b"{\"log\": \"\\ud83d\"}",
        "large-integer" => b"{\"n\": 1152921504606846976}",
        "deep" => deep.as_bytes(),
        "too-much" => much.as_bytes(),
        "no-content" => {
            return stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        }
        "redirect" => {
            let away =
                b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return stream.write_all(away).await;
        }
        "drops" => return Ok(()),
        "breaks-off" => {
            return stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"ok\":")
                .await;
        }
        // It sends what looks like life, and never comes to an end.
        "drips" => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{\"ok\": true")
                .await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        _ => {
            // Until the other side hangs up.
            let _ = stream.read(&mut [0; 16]).await?;
            return Ok(());
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await
}

/// Head and body of one request; gives its first line.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut gathered = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&gathered).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return Ok(head.lines().next().unwrap_or_default().to_owned());
            }
        }
        if stream.read_buf(&mut gathered).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn template(agent: &str) -> String {
    let slow = matches!(agent, "never" | "drips");
    let timeout = if slow { "timeout: 400ms, " } else { "" };
    format!(
        "name: Bad\nversion: '1.0'\ndescription: Calls {agent}.\nsteps:\n\
         - {{id: call, type: agent_call, agent: {agent}, {timeout}on_success: after}}\n\
         - {{id: after, type: agent_call, agent: good, on_success: workflow_complete}}\n\
         error_recovery: {{max_retries: 0}}\n"
    )
}

#[test]
fn no_broken_answer_counts_as_success() {
    run(async {
        let good = Agents::agreeable().await;
        let broken = Broken::start().await;
        let templates = CASES.map(|(agent, _)| (agent, template(agent)));
        let world = templates
            .iter()
            .fold(World::builder(), |world, (agent, text)| world.template(agent, text));
        let world = world.template("good", GOOD).agents(&broken.yaml(&good)).start().await;
        let started = CASES.map(|(agent, expected)| {
            let world = &world;
            async move { (agent, expected, world.execute(agent, json!({})).await) }
        });
        for (agent, expected, id) in futures::future::join_all(started).await {
            let state = world.wait_for(&id, "failed").await;
            assert_eq!(state["failure_reason"], expected, "{agent}: {}", state["error_message"]);
            assert_eq!(state["failed_step"], "call", "{agent}");
            assert_eq!(
                state["step_statuses"],
                json!({"call": "failed", "after": "skipped"}),
                "{agent}"
            );
            assert_eq!(state["outputs"]["call"]["status"], "error", "{agent}");
            assert_eq!(state["outputs"]["call"]["error_type"], expected, "{agent}");
            let message = state["error_message"].as_str().unwrap();
            assert!((10..500).contains(&message.len()), "{agent}: '{message}'");
            assert_eq!(
                broken.calls.lock().unwrap().iter().filter(|call| *call == agent).count(),
                1,
                "{agent}"
            );
        }
        assert!(good.calls().is_empty(), "nothing comes after a failure");
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn an_agent_that_is_not_there_is_unreachable() {
    run(async {
        let good = Agents::agreeable().await;
        let yaml = good.yaml(&[("good", false)])
            + "  gone: {runtime: http, url: \"http://127.0.0.1:1/\"}\n";
        let world = World::builder().template("good", GOOD).template("gone", &template("gone"));
        let world = world.agents(&yaml).start().await;
        let id = world.execute("gone", json!({})).await;
        let state = world.wait_for(&id, "failed").await;
        assert_eq!(state["failure_reason"], "unreachable", "{}", state["error_message"]);
        assert_alive(&world).await;
        world.stop().await;
    });
}
