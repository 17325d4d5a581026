//! The contract of runtimes, and every runtime held to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use sluice_proto::ids::AgentName;
use sluice_proto::message::{Command, CommandKind};
use tokio_util::sync::CancellationToken;

use super::command::CommandRuntime;
use super::http::HttpRuntime;
use super::*;
use crate::runtime::LlmSettings;

#[path = "../../tests/scripted/mod.rs"]
mod scripted;

use scripted::{Answer, Scripted};

/// Longer than anything here takes; only a failure waits this long.
const SOON: Duration = Duration::from_secs(15);
const MAX_OUTPUT: usize = 10_000;

pub(crate) fn test_command(kind: CommandKind) -> Command {
    let command_id = sluice_proto::ids::CommandId::parse("hotfix-1:review:1:1").unwrap();
    Command {
        v: 1,
        workflow_id: command_id.workflow_id.clone(),
        idempotency_key: command_id.idempotency_key(),
        command_id,
        template_name: "hotfix.workflow.yaml".to_owned(),
        step_id: "review".to_owned(),
        visit: 1,
        attempt: 1,
        dispatch: 1,
        kind,
        agent: AgentName::parse("code-review").unwrap(),
        payload: json!({"prompt": "Go on?", "answers": ["proceed", "block"]}),
        context: Map::new(),
        fence: 7,
        claim: false,
        lease_ms: 30_000,
        timeout_ms: 10_000,
        budget: None,
        insights: Vec::new(),
        locks: Vec::new(),
        recovery: None,
    }
}

fn job(kind: CommandKind) -> Job {
    let command = test_command(kind);
    let body = serde_json::to_vec(&command).unwrap().into();
    Job {
        command: Arc::new(command),
        body,
        traceparent: None,
        progress: Progress::default(),
        stop: CancellationToken::new(),
        max_output: MAX_OUTPUT,
    }
}

/// A runtime with an agent behind it that behaves in a certain way, and whatever keeps that agent alive.
type Behind = (Arc<dyn Runtime>, Option<Scripted>);

fn program(script: &str) -> Behind {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned);
    let roots: Arc<[std::path::PathBuf]> = Arc::from(vec![std::env::temp_dir()]);
    (Arc::new(CommandRuntime::new(&argv, None, &[], &std::env::temp_dir(), &roots)), None)
}

async fn service(answer: Answer) -> Behind {
    let server = Scripted::start(vec![answer]).await;
    let url = server.url.parse().unwrap();
    (Arc::new(HttpRuntime::new(&http::client().unwrap(), &url)), Some(server))
}

async fn models(answers: Vec<Answer>) -> (Arc<Models>, Scripted) {
    let server = Scripted::start(answers).await;
    let settings = LlmSettings {
        base_url: server.url.parse().unwrap(),
        api_key: "k".into(),
        model: "m".to_owned(),
    };
    (Arc::new(Models::new(http::client().unwrap(), Some(settings), BTreeMap::new())), server)
}

async fn model(answer: Answer) -> Behind {
    let (models, server) = models(vec![answer]).await;
    (Arc::new(LlmRuntime::new(&models, "You review.", None, None, None)), Some(server))
}

async fn gate(answer: Answer) -> Behind {
    let (models, server) = models(vec![answer]).await;
    (Arc::new(QuestionRuntime::new(&models)), Some(server))
}

/// Every runtime over an agent that answers well, says nonsense, says too much, and never ends.
async fn every_runtime() -> Vec<(&'static str, CommandKind, [Behind; 4])> {
    let good = json!({"decision": "proceed"});
    let large = json!({"x": "y".repeat(2 * MAX_OUTPUT)});
    let nonsense = "no object, [1] no answer";
    let says = |text: &str| program(&format!("cat <<'END'\n{text}\nEND"));
    vec![
        (
            "command",
            CommandKind::AgentCall,
            [
                says(&good.to_string()),
                says(nonsense),
                says(&large.to_string()),
                program("sleep 600"),
            ],
        ),
        (
            "http",
            CommandKind::AgentCall,
            [
                service(Answer::json(&good)).await,
                service(Answer::text(nonsense)).await,
                service(Answer::json(&large)).await,
                service(Answer::Never).await,
            ],
        ),
        (
            "llm",
            CommandKind::AgentCall,
            [
                model(Answer::chat(&good.to_string())).await,
                model(Answer::chat(nonsense)).await,
                model(Answer::chat(&large.to_string())).await,
                model(Answer::Never).await,
            ],
        ),
        (
            "question",
            CommandKind::Gate,
            [
                gate(Answer::chat(&good.to_string())).await,
                gate(Answer::chat(nonsense)).await,
                gate(Answer::chat(&large.to_string())).await,
                gate(Answer::Never).await,
            ],
        ),
    ]
}

#[tokio::test]
async fn every_runtime_keeps_the_contract() {
    for (name, kind, [good, nonsense, large, endless]) in every_runtime().await {
        let outcome = good.0.run(job(kind)).await;
        assert_eq!(outcome.result.map(Value::Object), Ok(json!({"decision": "proceed"})), "{name}");

        // A failure is never taken for an answer, and the same answer would come again.
        for (runtime, codes) in [
            (&nonsense.0, ["bad_output", "gate_error"]),
            (&large.0, ["output_too_large", "gate_error"]),
        ] {
            let error = Arc::clone(runtime).run(job(kind)).await.result.unwrap_err();
            assert!(codes.contains(&error.code.as_str()), "{name}: {error:?}");
            assert_eq!(error.retryable, Some(false), "{name}: {error:?}");
        }

        // Told to stop it ends within its farewell, and dropped at once.
        let stopped = job(kind);
        stopped.stop.cancel();
        let started = Instant::now();
        let _ =
            tokio::time::timeout(endless.0.farewell(), Arc::clone(&endless.0).run(stopped)).await;
        assert!(started.elapsed() <= endless.0.farewell() + Duration::from_secs(1), "{name}");
        drop(tokio::time::timeout(Duration::from_millis(50), endless.0.run(job(kind))).await);
    }
}

#[tokio::test]
async fn notifications_are_delivered_to_the_log() {
    let deliver = |kind| Arc::new(NotifyRuntime).run(job(kind));
    for kind in [CommandKind::Notification, CommandKind::ApprovalRequest] {
        let output = Value::Object(deliver(kind).await.result.unwrap());
        assert_eq!(
            (&output["status"], &output["channels"]),
            (&json!("delivered"), &json!(["log"]))
        );
    }
    assert_eq!(deliver(CommandKind::Gate).await.result.unwrap_err().code, "unsupported");
}

#[tokio::test]
async fn a_program_is_judged_by_its_exit_code() {
    let cases = [
        ("echo '{}'; exit 3", "exit_3", None),
        ("echo why >&2; exit 1", "exit_1", None),
        ("kill -9 $$", "signal_9", None),
        (
            r#"echo '{"error":{"code":"quota","message":"later","retryable":true}}'; exit 1"#,
            "quota",
            Some(true),
        ),
        ("cat > /dev/null", "bad_output", Some(false)),
        (r#"printf '{"a":"x\0y"}'"#, "bad_output", Some(false)),
    ];
    for (script, code, retryable) in cases {
        let error = program(script).0.run(job(CommandKind::AgentCall)).await.result.unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            (code, retryable),
            "{script}: {error:?}"
        );
        assert!(
            !script.contains("why") || error.message.ends_with("its log ends with:\nwhy"),
            "{}",
            error.message
        );
    }
    let argv = ["./no-such-program".to_owned()];
    let runtime =
        CommandRuntime::new(&argv, None, &[], Path::new("/"), &Arc::from(vec!["/".into()]));
    assert_eq!(
        Arc::new(runtime).run(job(CommandKind::AgentCall)).await.result.unwrap_err().code,
        "not_started"
    );
}

#[tokio::test]
async fn what_a_program_said_counts_though_its_child_keeps_the_output_open() {
    let (runtime, _) = program(r#"sleep 600 & echo $! >&2; echo '{"server": "started"}'"#);
    let job = job(CommandKind::AgentCall);
    let progress = job.progress.clone();
    let outcome = tokio::time::timeout(SOON, runtime.run(job)).await.unwrap();
    assert_eq!(outcome.result.map(Value::Object), Ok(json!({"server": "started"})));
    let child: i32 = progress.take()[0].parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(child).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[tokio::test]
async fn a_program_sees_little_and_works_below_the_roots() {
    let folder = std::env::temp_dir().join(format!("sluice-workdir-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("root/project")).unwrap();
    std::os::unix::fs::symlink("/", folder.join("root/out")).unwrap();
    let script = r#"read -r line; [ -n "$CARGO_PKG_NAME" ] && seen=yes; [ -n "$CARGO_MANIFEST_DIR" ] && leaked=yes
        echo "{\"pwd\":\"$PWD\",\"seen\":\"$seen\",\"leaked\":\"$leaked\",\"key\":\"$SLUICE_IDEMPOTENCY_KEY\",\"got\":$line}""#;
    let argv = ["/bin/sh", "-c", script].map(str::to_owned);
    let workdir = sluice_engine::expr::Text::parse("{{ context.project_path }}").unwrap();
    let roots: Arc<[std::path::PathBuf]> = Arc::from(vec![folder.join("root")]);
    let runtime =
        CommandRuntime::new(&argv, Some(&workdir), &["CARGO_PKG_NAME".to_owned()], &folder, &roots);
    let runtime = Arc::new(runtime);
    let run = |path: &str| {
        let mut job = job(CommandKind::AgentCall);
        let mut command = test_command(CommandKind::AgentCall);
        command.context.insert("project_path".to_owned(), json!(path));
        let body = serde_json::to_string(&command).unwrap() + "\n";
        (job.command, job.body) = (Arc::new(command), body.into());
        Arc::clone(&runtime).run(job)
    };
    let output = Value::Object(run("root/project").await.result.unwrap());
    let real = folder.join("root/project").canonicalize().unwrap();
    assert_eq!(output["pwd"], real.to_str().unwrap());
    // Cargo sets both; only the one that was listed is passed on.
    let listed = if std::env::var_os("CARGO_PKG_NAME").is_some() { "yes" } else { "" };
    assert_eq!((&output["seen"], &output["leaked"]), (&json!(listed), &json!("")));
    assert_eq!((&output["key"], &output["got"]["fence"]), (&json!("hotfix-1/review/1"), &json!(7)));
    for outside in ["/", "root/out", "root/out/etc", "root/../..", "", "root/none", "."] {
        assert_eq!(run(outside).await.result.unwrap_err().code, "workdir", "{outside}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_gate_asks_the_next_model_and_never_makes_an_answer_up() {
    let ask = |answers: Vec<Answer>, chain: usize| async move {
        let (models, server) = models(answers).await;
        let mut job = job(CommandKind::Gate);
        let mut command = test_command(CommandKind::Gate);
        let chain: Vec<Value> =
            (0..chain).map(|n| json!({"model": format!("m{n}"), "provider": null})).collect();
        command.payload["llm_fallback_chain"] = json!(chain);
        command.timeout_ms = 2_000;
        job.command = Arc::new(command);
        (Arc::new(QuestionRuntime::new(&models)).run(job).await, server)
    };
    let no = || Answer::chat(r#"{"decision":"block","why":{"a":["}"]}}"#);
    let (outcome, mut server) = ask(
        vec![
            Answer::status("500 Oops"),
            Answer::Drop,
            Answer::chat("hm"),
            Answer::chat(r#"{"decision":"maybe"}"#),
            no(),
        ],
        4,
    )
    .await;
    assert_eq!(
        outcome.result.map(Value::Object),
        Ok(json!({"decision": "block", "why": {"a": ["}"]}}))
    );
    assert_eq!(outcome.usage.unwrap().input_tokens, Some(33));
    let first = server.seen.recv().await.unwrap();
    assert_eq!((&first.body["model"], &first.body["temperature"]), (&json!("m"), &json!(0.3)));
    assert!(
        first.head.starts_with("post /chat/completions")
            && first.head.contains("authorization: bearer k")
    );
    assert_eq!(server.seen.recv().await.unwrap().body["model"], "m0");

    let (outcome, _server) = ask(vec![Answer::Never, no()], 1).await;
    assert!(outcome.result.is_ok(), "the second model still has time: {outcome:?}");
    let (outcome, _server) =
        ask(vec![Answer::status("503 Busy"), Answer::chat("no json")], 1).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("gate_error", Some(true)),
        "{}",
        error.message
    );
    let (outcome, _server) = ask(vec![Answer::chat(r#"[{"decision":"proceed"}]"#)], 0).await;
    assert_eq!(outcome.result.unwrap_err().retryable, Some(false));

    let nobody = Arc::new(Models::new(http::client().unwrap(), None, BTreeMap::new()));
    let error = Arc::new(QuestionRuntime::new(&nobody))
        .run(job(CommandKind::Gate))
        .await
        .result
        .unwrap_err();
    assert_eq!((error.code.as_str(), error.retryable), ("no_model", Some(false)));
    assert!(error.message.contains("SLUICE_LLM_BASE_URL"), "{}", error.message);
}

#[tokio::test]
async fn a_model_must_satisfy_the_schema_and_may_not_know_schemas() {
    let document = json!({"type": "object", "required": ["score"], "properties": {"score": {"type": "number"}}});
    let schema = crate::agents::Schema {
        validator: Arc::new(jsonschema::validator_for(&document).unwrap()),
        document: Arc::new(document),
    };
    let refused = Answer::with(
        "400 Bad Request",
        "",
        br#"{"error":{"message":"response_format k is unknown"}}"#,
    );
    let good = Answer::chat("Here:\n```json\n{\"score\": 4}\n```");
    let answers = vec![refused.clone(), good, Answer::chat(r#"{"score":"four"}"#), refused];
    let (models, mut server) = models(answers).await;
    let runtime = LlmRuntime::new(&models, "You review.", Some(&schema), None, None);
    let runtime = Arc::new(runtime);
    let run = || Arc::clone(&runtime).run(job(CommandKind::AgentCall));

    let outcome = run().await;
    assert_eq!(outcome.result.map(Value::Object), Ok(json!({"score": 4})));
    let usage = outcome.usage.unwrap();
    assert_eq!(
        (usage.model.as_deref(), usage.input_tokens, usage.output_tokens),
        (Some("scripted-1"), Some(11), Some(7))
    );
    let (with, without) = (server.seen.recv().await.unwrap(), server.seen.recv().await.unwrap());
    assert_eq!(with.body["response_format"]["type"], "json_schema");
    assert!(without.body.get("response_format").is_none());
    assert!(without.body["messages"][0]["content"].as_str().unwrap().contains("\"score\""));

    let outcome = run().await;
    let error = outcome.result.unwrap_err();
    assert_eq!((error.code.as_str(), error.retryable), ("bad_output", Some(false)));
    assert!(
        error.message.contains("/score") && !error.message.contains("four"),
        "{}",
        error.message
    );
    assert!(outcome.usage.is_some(), "tokens spent in vain are spent");
    assert!(server.seen.recv().await.unwrap().body.get("response_format").is_none(), "remembered");

    let error = run().await.result.unwrap_err();
    assert_eq!(error.code, "http_400");
    assert!(error.message.contains("response_format [key] is un[key]nown"), "{}", error.message);
}
