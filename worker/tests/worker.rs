//! A worker between a real NATS server, a scripted coordinator and scripted agents.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bench;
mod coordinator;
mod endings;
#[path = "../../bus/tests/nats/mod.rs"]
mod nats;
mod scripted;

use std::time::Duration;

use serde_json::{Value, json};
use sluice_bus::StepMessage;
use sluice_proto::ids::AgentName;
use sluice_proto::message::{CancelNotice, CommandKind};
use sluice_worker::{LlmSettings, Worker, WorkerError};

use bench::Bench;
use coordinator::{Reaction, command};
use scripted::{Answer, Scripted};

/// Longer than anything here takes; only a failure waits this long.
const SOON: Duration = Duration::from_secs(20);

fn http_agent(url: &str) -> String {
    format!("agents:\n  tester:\n    runtime: http\n    url: {url}\n")
}

fn program(script: &str) -> String {
    let argv = json!(["/bin/sh", "-c", script]);
    format!("agents:\n  tester:\n    runtime: command\n    argv: {argv}\n")
}

fn error_of(result: &Value) -> (&str, Option<bool>) {
    assert_eq!(result["status"], "error", "{result}");
    (result["error"]["code"].as_str().unwrap(), result["error"]["retryable"].as_bool())
}

#[tokio::test]
async fn a_good_answer_is_recorded_and_then_acknowledged() {
    let mut bench = Bench::new().await;
    let envelope = json!({"output": {"score": 9.0}, "insights": ["fine"], "usage": {"model": "x", "input_tokens": 3}});
    let mut agent = Scripted::start(vec![Answer::json(&envelope)]).await;
    let worker = bench.worker(&http_agent(&agent.url)).await;
    bench
        .coordinator
        .dispatch(&command("tester", "run-1:review:1:1", CommandKind::AgentCall, json!({"pr": 4})))
        .await;
    let (subject, result) = bench.coordinator.next_result().await;
    assert_eq!(subject, "t.result.tester.run-1");
    assert_eq!(
        (&result["status"], &result["output"], &result["fence"]),
        (&json!("ok"), &json!({"score": 9}), &json!(7))
    );
    assert_eq!(
        (&result["insights"], &result["usage"]["input_tokens"]),
        (&json!(["fine"]), &json!(3))
    );
    assert_eq!(
        (&result["worker_id"], &result["command_id"]),
        (&json!("w-1"), &json!("run-1:review:1:1"))
    );
    let seen = agent.seen.recv().await.unwrap();
    assert!(
        seen.head.contains("idempotency-key: run-1/review/1")
            && seen.head.contains("content-type: application/json")
    );
    assert_eq!(
        (&seen.body["payload"], &seen.body["kind"]),
        (&json!({"pr": 4}), &json!("agent_call"))
    );
    bench.settled("tester").await;
    assert_eq!(worker.held(), 0);
    worker.stop(SOON).await;
}

#[tokio::test]
async fn agents_that_misbehave_fail_in_a_named_way() {
    let mut bench = Bench::new().await;
    let endless = {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n{\"x\":\"".to_vec();
        bytes.resize(2_000_000, b'y');
        bytes
    };
    let cases = [
        ("text", Answer::text("all good"), "bad_output", Some(false)),
        ("html", Answer::text("<html><body>Bad gateway</body></html>"), "bad_output", Some(false)),
        ("half", Answer::text("{\"score\": "), "bad_output", Some(false)),
        ("nothing", Answer::text(""), "bad_output", Some(false)),
        ("nul", Answer::text("{\"a\":\"x\\u0000y\"}"), "bad_output", Some(false)),
        ("surrogate", Answer::text("{\"a\":\"\\ud800\"}"), "bad_output", Some(false)),
        ("digits", Answer::text("{\"a\":12345678901234567890}"), "bad_output", Some(false)),
        ("too_much", Answer::Bytes(endless), "output_too_large", Some(false)),
        (
            "cut_off",
            Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}".to_vec()),
            "connection_lost",
            Some(true),
        ),
        ("dropped", Answer::Drop, "connection_lost", Some(true)),
        ("never", Answer::Never, "timeout", Some(true)),
        (
            "elsewhere",
            Answer::with("302 Found", "location: http://example.com/\r\n", b""),
            "redirect",
            Some(false),
        ),
        ("forbidden", Answer::status("403 Forbidden"), "http_403", Some(false)),
        (
            "busy",
            Answer::with("429 Too Many Requests", "retry-after: 7\r\n", b""),
            "http_429",
            Some(true),
        ),
        (
            "described",
            Answer::with(
                "503 Busy",
                "",
                br#"{"error":{"code":"locked","message":"no","retriable":false}}"#,
            ),
            "locked",
            Some(false),
        ),
    ];
    for (index, (name, answer, code, retryable)) in cases.into_iter().enumerate() {
        let agent = Scripted::start(vec![answer]).await;
        let worker = bench.worker(&http_agent(&agent.url)).await;
        let mut command =
            command("tester", &format!("run-{index}:s:1:1"), CommandKind::AgentCall, json!({}));
        command.timeout_ms = if name == "never" { 200 } else { 15_000 };
        bench.coordinator.dispatch(&command).await;
        let (_, result) = bench.coordinator.next_result().await;
        assert_eq!(error_of(&result), (code, retryable), "{name}: {result}");
        if name == "busy" {
            assert_eq!(result["error"]["retry_after_ms"], 7_000);
        }
        bench.settled("tester").await;
        worker.stop(SOON).await;
    }
    let worker = bench.worker(&http_agent("http://127.0.0.1:1/")).await;
    bench
        .coordinator
        .dispatch(&command("tester", "run-x:s:1:1", CommandKind::AgentCall, json!({})))
        .await;
    assert_eq!(error_of(&bench.coordinator.next_result().await.1), ("unreachable", Some(true)));
    worker.stop(SOON).await;
}

#[tokio::test]
async fn a_result_is_reported_until_somebody_answers() {
    let mut bench = Bench::new().await;
    let mut agent = Scripted::start(vec![Answer::json(&json!({}))]).await;
    bench.coordinator.results([Reaction::Garbage, Reaction::Garbage]);
    let worker = bench.worker(&http_agent(&agent.url)).await;
    bench
        .coordinator
        .dispatch(&command("tester", "run-1:s:1:1", CommandKind::AgentCall, json!({})))
        .await;
    for _ in 0..2 {
        bench.coordinator.next_result().await;
    }
    // Not acknowledged before it is recorded.
    assert_eq!(worker.held(), 1);
    bench.coordinator.next_result().await;
    bench.settled("tester").await;
    agent.seen.recv().await.unwrap();
    assert!(agent.seen.try_recv().is_err(), "the agent ran once");

    // A refusal is an answer, too.
    bench.coordinator.results([Reaction::Refuse("not_outstanding")]);
    bench
        .coordinator
        .dispatch(&command("tester", "run-2:s:1:1", CommandKind::AgentCall, json!({})))
        .await;
    bench.coordinator.next_result().await;
    bench.settled("tester").await;
    worker.stop(SOON).await;
}

#[tokio::test]
async fn nothing_is_begun_without_the_grant() {
    let mut bench = Bench::new().await;
    let mut agent = Scripted::start(vec![Answer::json(&json!({}))]).await;
    let worker = bench.worker(&http_agent(&agent.url)).await;
    let claimed = |id: &str| {
        let mut command = command("tester", id, CommandKind::AgentCall, json!({}));
        command.claim = true;
        command
    };
    bench.coordinator.claims([Reaction::Garbage, Reaction::Garbage, Reaction::Grant(41)]);
    bench.coordinator.dispatch(&claimed("run-1:deploy:1:1")).await;
    let (subject, claim) = bench.coordinator.next_claim().await;
    assert_eq!(
        (subject.as_str(), &claim["fence"], &claim["worker_id"]),
        ("t.claim.tester.run-1", &json!(7), &json!("w-1"))
    );
    bench.coordinator.next_claim().await;
    assert!(agent.seen.try_recv().is_err());
    bench.coordinator.next_claim().await;
    assert_eq!(
        agent.seen.recv().await.unwrap().body["fence"],
        41,
        "the granted fence replaces the command's"
    );
    assert_eq!(bench.coordinator.next_result().await.1["fence"], 41);
    bench.settled("tester").await;

    bench.coordinator.claims([Reaction::Refuse("not_outstanding")]);
    bench.coordinator.dispatch(&claimed("run-2:deploy:1:1")).await;
    bench.coordinator.next_claim().await;
    bench.settled("tester").await;
    bench.coordinator.claims([Reaction::Refuse("held_by_another")]);
    bench.coordinator.dispatch(&claimed("run-3:deploy:1:1")).await;
    bench.coordinator.next_claim().await;
    // Handed back for later, not forgotten.
    bench.until_lane("tester", |pending, held| pending + held == 1).await;
    worker.stop(SOON).await;
    assert!(agent.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_long_attempt_sends_heartbeats_and_its_log() {
    let mut bench = Bench::new().await;
    let worker = bench
        .worker(&program(
            "echo compiling >&2; while [ ! -e go ]; do sleep 0.02; done; echo '{\"built\":true}'",
        ))
        .await;
    let mut command = command("tester", "run-1:build:1:1", CommandKind::AgentCall, json!({}));
    command.lease_ms = 300;
    bench.coordinator.dispatch(&command).await;
    let (subject, heartbeat) = bench.coordinator.next_heartbeat().await;
    assert_eq!((subject.as_str(), &heartbeat["fence"]), ("t.heartbeat.tester.run-1", &json!(7)));
    assert_eq!(heartbeat["progress"]["lines"], json!(["compiling"]));
    assert!(
        bench.coordinator.next_heartbeat().await.1.get("progress").is_none(),
        "a line is shown once"
    );
    std::fs::write(bench.folder.join("go"), "").unwrap();
    assert_eq!(bench.coordinator.next_result().await.1["output"], json!({"built": true}));
    bench.settled("tester").await;

    command.command_id.visit = 2;
    command.timeout_ms = 300;
    std::fs::remove_file(bench.folder.join("go")).unwrap();
    bench.coordinator.dispatch(&command).await;
    assert_eq!(error_of(&bench.coordinator.next_result().await.1), ("timeout", Some(true)));
    worker.stop(SOON).await;
}

#[tokio::test]
async fn no_more_is_held_than_fits() {
    let mut bench = Bench::new().await;
    let agents =
        program("while [ ! -e go ]; do sleep 0.02; done; echo '{}'") + "    concurrency: 2\n";
    let mut config = bench.config(bench.nats.bus("worker").await, &agents);
    config.concurrency = 3;
    let worker = Worker::start(config).await.unwrap();
    for run in 0..6 {
        bench
            .coordinator
            .dispatch(&command(
                "tester",
                &format!("run-{run}:s:1:1"),
                CommandKind::AgentCall,
                json!({}),
            ))
            .await;
    }
    bench.until_lane("tester", |pending, held| (pending, held) == (4, 2)).await;
    assert_eq!(worker.held(), 2);
    // There is room for one more of another agent.
    bench
        .coordinator
        .dispatch(&command("sluice-notify", "run-9:n:1:1", CommandKind::Notification, json!({})))
        .await;
    let (_, told) = bench.coordinator.next_result().await;
    assert_eq!(told["output"]["status"], "delivered");
    bench.until_lane("tester", |pending, held| (pending, held) == (4, 2)).await;
    std::fs::write(bench.folder.join("go"), "").unwrap();
    for _ in 0..6 {
        bench.coordinator.next_result().await;
    }
    bench.settled("tester").await;
    worker.stop(SOON).await;
}

#[tokio::test]
async fn a_command_that_cannot_be_read_is_dropped() {
    let mut bench = Bench::new().await;
    let agent = Scripted::start(vec![Answer::json(&json!({}))]).await;
    let worker = bench.worker(&http_agent(&agent.url)).await;
    let tester = AgentName::parse("tester").unwrap();
    let other =
        serde_json::to_vec(&command("other", "run-1:s:1:1", CommandKind::AgentCall, json!({})))
            .unwrap();
    for (id, body) in [("a", b"{".to_vec()), ("b", other)] {
        let step = StepMessage {
            agent: tester.clone(),
            urgent: false,
            message_id: id.to_owned(),
            traceparent: None,
            body: body.into(),
        };
        bench.coordinator.bus.publish_steps(vec![step]).await.remove(0).unwrap();
    }
    bench
        .coordinator
        .dispatch(&command("tester", "run-2:s:1:1", CommandKind::AgentCall, json!({})))
        .await;
    assert_eq!(bench.coordinator.next_result().await.1["command_id"], "run-2:s:1:1");
    bench.settled("tester").await;
    worker.stop(SOON).await;
}

#[tokio::test]
async fn a_restart_of_nats_loses_no_attempt() {
    let mut bench = Bench::new().await;
    let worker = bench
        .worker(&program("echo up >&2; while [ ! -e go ]; do sleep 0.02; done; echo '{}'"))
        .await;
    let mut running = command("tester", "run-1:s:1:1", CommandKind::AgentCall, json!({}));
    running.lease_ms = 150;
    bench.coordinator.dispatch(&running).await;
    bench.coordinator.next_heartbeat().await;
    bench.nats.interrupt();
    std::fs::write(bench.folder.join("go"), "").unwrap();
    bench.nats.resume();
    assert_eq!(bench.coordinator.next_result().await.1["command_id"], "run-1:s:1:1");
    bench
        .coordinator
        .dispatch(&command("tester", "run-2:s:1:1", CommandKind::AgentCall, json!({})))
        .await;
    loop {
        if bench.coordinator.next_result().await.1["command_id"] == "run-2:s:1:1" {
            break;
        }
    }
    bench.settled("tester").await;
    worker.stop(SOON).await;
}

#[tokio::test]
async fn gates_are_answered_by_a_model_or_not_at_all() {
    let mut bench = Bench::new().await;
    let gate = |run: &str| {
        let payload = json!({"prompt": "Go on?", "answers": ["proceed", "block"]});
        command("sluice-llm", &format!("{run}:review.gate:1:1"), CommandKind::Gate, payload)
    };
    let worker = bench.worker("agents: {}").await;
    bench.coordinator.dispatch(&gate("run-1")).await;
    assert_eq!(error_of(&bench.coordinator.next_result().await.1), ("no_model", Some(false)));
    worker.stop(SOON).await;

    let cases = [
        (Answer::chat("I think we should proceed."), Err(("gate_error", Some(false)))),
        (Answer::status("500 Oops"), Err(("gate_error", Some(true)))),
        (Answer::chat("```json\n{\"decision\": \"block\"}\n```"), Ok(json!({"decision": "block"}))),
    ];
    for (index, (answer, expected)) in cases.into_iter().enumerate() {
        let model = Scripted::start(vec![answer]).await;
        let mut config = bench.config(bench.nats.bus("worker").await, "agents: {}");
        let base_url = model.url.parse().unwrap();
        config.llm =
            Some(LlmSettings { base_url, api_key: "secret".into(), model: "m".to_owned() });
        config.only = Some(vec![AgentName::llm()]);
        let worker = Worker::start(config).await.unwrap();
        bench.coordinator.dispatch(&gate(&format!("case-{index}"))).await;
        let (_, result) = bench.coordinator.next_result().await;
        match expected {
            Ok(output) => assert_eq!(
                (&result["output"], &result["usage"]["output_tokens"]),
                (&output, &json!(7))
            ),
            Err(error) => assert_eq!(error_of(&result), error, "{result}"),
        }
        worker.stop(SOON).await;
    }
}

#[tokio::test]
async fn only_what_can_be_run_here_is_served() {
    let bench = Bench::new().await;
    let bus = bench.nats.bus("worker").await;
    let agents =
        "agents:\n  docs: {runtime: external}\n  code-review: {runtime: http, url: 'http://h'}";
    let only = |names: &[&str]| {
        let mut config = bench.config(bus.clone(), agents);
        config.only = Some(names.iter().map(|name| AgentName::parse(name).unwrap()).collect());
        config
    };
    for (names, expected) in [
        (&["docs"][..], "no agent 'docs' can be run here"),
        (&["code-revew"], "no agent 'code-revew' can be run here; did you mean 'code-review'?"),
        (&[], "there is nothing to run"),
    ] {
        let error = Worker::start(only(names)).await.err().unwrap();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(!matches!(error, WorkerError::Bus(_)));
    }
    let worker = Worker::start(only(&["code_review"])).await.unwrap();
    for (name, served) in [("code-review", true), ("docs", false), ("sluice-llm", false)] {
        let agent = AgentName::parse(name).unwrap();
        assert_eq!(bus.step_lane(&agent, true).await.unwrap().exists, served, "{name}");
    }
    worker.stop(SOON).await;
}
