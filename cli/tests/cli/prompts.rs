//! `sluice prompts` and the manual pages: nothing of it needs a server.

use super::{Folder, run};

const AGENTS: &str = "agents:
  easy: {runtime: llm, prompt: short.md, tools: short.md}
  near: {runtime: llm, prompt: short.md, tools: near.md}
  over: {runtime: llm, prompt: over.md}
  gone: {runtime: llm, prompt: short.md, tools: nowhere.md}
  tool: {runtime: command, argv: [./tool]}
";

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("agents.yaml", AGENTS);
    folder.write("short.md", "hello world");
    // Each "word " is a token, and so is the rest of the last one.
    folder.write("near.md", &"word ".repeat(7_996));
    folder.write("over.md", &"word ".repeat(8_000));
    folder
}

/// The six lines of the guide, with the numbers of our own prompts.
#[test]
fn the_prompts_that_come_with_the_binary_are_valid() {
    let (code, out, err) = run(&Folder::new("embedded"), &["prompts", "validate"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    let agents =
        ["supervisor", "feature-dev", "code-review", "infrastructure", "cicd", "documentation"];
    assert_eq!(lines.len(), agents.len() + 2, "{out}");
    for (agent, line) in agents.iter().zip(&lines) {
        let rest = line.strip_prefix(&format!("Validating {agent} prompt... ✓ "));
        let numbers = rest.and_then(|rest| rest.strip_suffix("% of 8K budget)"));
        let (tokens, percent) = numbers.and_then(|text| text.split_once(" tokens (")).expect(line);
        let tokens: usize = tokens.replace(',', "").parse().unwrap();
        assert_eq!(percent, ((tokens * 100 + 4_000) / 8_000).to_string(), "{line}");
        assert!(tokens > 100, "{line}");
    }
    assert_eq!(lines[6..], ["", "All prompts valid ✓"]);
}

#[test]
fn a_prompt_over_its_budget_or_without_its_file_is_refused() {
    let (code, out, err) =
        run(&folder("budget"), &["prompts", "validate", "--agents", "agents.yaml"]);
    assert_eq!(
        out,
        "Validating easy prompt... ✓ 4 tokens (0% of 8K budget)
Validating near prompt... ⚠ 7,999 tokens (100% of 8K budget)
Validating over prompt... ✗ 8,001 tokens (100% of 8K budget)
Validating gone prompt... ✗ nowhere.md: No such file or directory (os error 2)
"
    );
    assert_eq!((code, err.as_str()), (1, "error: 2 of 4 prompts cannot be used\n"));
}

#[test]
fn a_context_counts_for_every_agent() {
    let folder = folder("context");
    folder.write("one.yaml", "agents: {easy: {runtime: llm, prompt: short.md}}\n");
    let counted = |more: &[&str]| {
        let fixed = ["prompts", "count", "--agents", "one.yaml", "-o", "json"];
        let (code, out, err) = run(&folder, &[&fixed[..], more].concat());
        assert_eq!(code, 0, "{err}");
        let counted: serde_json::Value = serde_json::from_str(&out).unwrap();
        counted["agents"][0]["tokens"].as_u64().unwrap()
    };
    assert_eq!(counted(&[]), 2);
    assert_eq!(counted(&["--context-file", "near.md"]), 2 + 7_997);
}

#[test]
fn files_are_counted_one_a_line() {
    let folder = Folder::new("count");
    folder.write("agents.yaml", "agents: {a: {runtime: llm, prompt: p.md, tools: longer/t.md}}\n");
    folder.write("p.md", "hello world");
    folder.write("longer/t.md", "hello");
    let (code, out, _) =
        run(&folder, &["prompts", "count", "--agents", "agents.yaml", "--verbose"]);
    let expected = "Vocabulary: o200k_base
AGENT  FILE         TOKENS
a      p.md         2
a      longer/t.md  1
";
    assert_eq!((code, out.as_str()), (0, expected));
}

#[test]
fn agents_without_any_prompt_are_no_success() {
    let folder = Folder::new("no-prompts");
    folder.write("agents.yaml", "agents: {tool: {runtime: command, argv: [./tool]}}\n");
    let (code, out, err) = run(&folder, &["prompts", "validate", "--agents", "agents.yaml"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("no agent is a model"), "{err}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = Folder::new("man");
    let (code, _, err) = run(&folder, &["man", "man1"]);
    assert_eq!(code, 0, "{err}");
    for page in ["sluice", "sluice-run", "sluice-prompts-validate"] {
        let text = std::fs::read_to_string(folder.0.join(format!("man1/{page}.1"))).unwrap();
        assert!(text.contains(".TH") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}
