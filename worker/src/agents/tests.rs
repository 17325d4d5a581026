use std::path::Path;

use sluice_proto::ids::AgentName;

use super::*;

const FULL: &str = r#"
workspace_roots: ["."]
providers:
  openai:
    base_url: https://api.example.com/v1
    api_key: ${KEY}
agents:
  code_review:
    runtime: llm
    prompt: p.md
    tools: t.md
    output_schema: s.json
    model: ${SLUICE_LLM_MODEL}
    provider: openai
    timeout: 5m
    concurrency: 2
  cicd:
    runtime: command
    argv: ["./agents/cicd", "--fast"]
    workdir: "{{ context.project_path }}"
    env: [CI_TOKEN]
    effects: true
  infrastructure:
    runtime: http
    url: http://127.0.0.1:9004/run
    idempotent: true
    timeout: 30
  documentation:
    runtime: external
"#;

fn parse(text: &str) -> Result<AgentsFile, AgentsError> {
    let env = |name: &str| (name == "KEY").then(|| "secret".to_owned());
    let read = |path: &Path| match path.to_str().unwrap_or_default() {
        "/base/p.md" => Ok("You review.".to_owned()),
        "/base/t.md" => Ok("Tools.".to_owned()),
        "/base/s.json" => Ok(r#"{"type":"object"}"#.to_owned()),
        "/base/bad.json" => Ok(r#"{"type":7}"#.to_owned()),
        _ => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such file")),
    };
    let source =
        Source { text, file: "agents.yaml", base: Path::new("/base"), env: &env, read: &read };
    AgentsFile::from_source(&source)
}

#[test]
fn reads_every_runtime() {
    let file = parse(FULL).unwrap();
    let names: Vec<&str> = file.agents().map(|agent| agent.runtime.name()).collect();
    assert_eq!(names, ["llm", "command", "http", "external"]);
    let review = &file.agents[&AgentName::parse("code-review").unwrap()];
    let RuntimeSettings::Llm { system, output_schema, model, .. } = &review.runtime else {
        panic!()
    };
    assert_eq!(system, "You review.\n\nTools.");
    assert!(output_schema.is_some() && model.is_none(), "an unset model setting is no model");
    assert_eq!((review.concurrency, review.timeout), (2, Duration::from_secs(300)));
    let traits = file.catalogue().traits(&AgentName::parse("cicd").unwrap());
    assert!(traits.effects && !traits.idempotent);
    let traits = file.catalogue().traits(&AgentName::parse("infrastructure").unwrap());
    assert_eq!((traits.effects, traits.idempotent, traits.timeout_ms), (true, true, 30_000));
    assert!(!format!("{file:?}").contains("secret"));
}

#[test]
fn says_where_and_what_is_wrong() {
    let cases = [
        (
            "agents:\n  a:\n    runtime: llm\n    promt: p.md",
            "agents.yaml:4:5: unknown key 'promt', did you mean 'prompt'?",
        ),
        ("agnets: {}", "agents.yaml:1:1: unknown key 'agnets', did you mean 'agents'?"),
        (
            "agents:\n  a:\n    runtime: lmm",
            "agents.yaml:3:14: unknown runtime 'lmm', did you mean 'llm'?",
        ),
        ("agents:\n  a:\n    runtime: perl5", "valid are command, external, http, llm"),
        ("agents:\n  a:\n    runtime: llm", "agents.yaml:3:14: runtime llm needs 'prompt'"),
        (
            "agents:\n  a:\n    runtime: llm\n    prompt: q.md",
            "agents.yaml:4:13: q.md: no such file",
        ),
        (
            "agents:\n  a:\n    runtime: llm\n    prompt: p.md\n    output_schema: bad.json",
            "agents.yaml:5:20: bad.json: ",
        ),
        (
            "agents:\n  a:\n    runtime: llm\n    prompt: p.md\n    model: ${NOPE}",
            "agents.yaml:5:12: environment variable NOPE is not set",
        ),
        (
            "agents:\n  a:\n    runtime: http\n    url: ${KEY",
            "agents.yaml:4:10: '${' is never closed",
        ),
        (
            "agents:\n  a:\n    runtime: http\n    url: ${KEY}",
            "agents.yaml:4:10: not an http:// or https:// address",
        ),
        (
            "agents:\n  a:\n    runtime: http\n    url: http://h\n    argv: [x]",
            "agents.yaml:5:11: 'argv' belongs to runtime command",
        ),
        (
            "agents:\n  a:\n    runtime: command\n    argv: []",
            "agents.yaml:4:11: argv needs a program",
        ),
        (
            "agents:\n  a:\n    runtime: command\n    argv: [x, '{{ context.y }}']",
            "agents.yaml:4:15: '{{' is filled in only in workdir",
        ),
        (
            "agents:\n  a:\n    runtime: command\n    argv: [x]\n    workdir: '{{ nope('",
            "agents.yaml:5:14: ",
        ),
        (
            "agents:\n  a:\n    runtime: command\n    argv: [x]\n    env: ['A=1']",
            "agents.yaml:5:11: 'A=1' is no variable's name",
        ),
        ("agents:\n  a:\n    runtime: external\n    timeout: soon", "agents.yaml:4:14: "),
        (
            "agents:\n  a:\n    runtime: external\n    concurrency: 0",
            "agents.yaml:4:18: concurrency goes from 1",
        ),
        ("agents:\n  a:\n    runtime: external\n    effects: perhaps", "agents.yaml:4:14: "),
        ("agents:\n  a_b: {runtime: external}\n  a-b: {runtime: external}", "agents.yaml:3:"),
        ("agents:\n  sluice-llm: {runtime: external}", "reserved"),
        (
            "agents:\n  a: {runtime: llm, prompt: p.md, provider: opanai}\nproviders:\n  openai: {base_url: 'http://h'}",
            "did you mean 'openai'?",
        ),
        ("agents: [", "agents.yaml:1:"),
    ];
    for (text, expected) in cases {
        let message = parse(text).unwrap_err().to_string();
        assert!(
            message.contains(expected) && message.starts_with("agents.yaml:"),
            "{text}\n{message}"
        );
        assert!(!message.contains("secret") && message.lines().count() == 1, "{message}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = AgentsFile::load(Path::new("/nowhere/agents.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/agents.yaml: "), "{error}");
}
