//! Every finding with its place and its words. The cases are in `fixtures/findings/`: a line
//! `=== <head>`, where the head says what stands before the text, the text, a line `---`, and one
//! line a finding: `E` for an error or `W` for a warning, the place, the message.

use super::*;

const STEPS: &str = "name: T\nversion: '1'\ndescription: d\nsteps:\n";
const CALL: &str = "  - id: a\n    type: agent_call\n    agent: x\n";
const APPROVAL: &str = "  - {id: plan, type: agent_call, agent: x, on_success: h}
  - id: h
    type: hitl_approval
    on_approved: workflow_complete
    on_rejected: workflow_failed
";

fn marked(finding: &Finding) -> String {
    let mark = if finding.severity == Severity::Error { "E" } else { "W" };
    format!("{mark} {}", finding.to_string().strip_prefix("t.yaml:").unwrap())
}

fn check(cases: &str) {
    for case in cases.split("=== ").skip(1) {
        let (head, rest) = case.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("---\n").unwrap();
        let before = match head {
            "template" => String::new(),
            "steps" => STEPS.to_owned(),
            "call" => [STEPS, CALL].concat(),
            "approval" => [STEPS, APPROVAL].concat(),
            other => panic!("unknown head '{other}'"),
        };
        let text = before + text;
        let expected: Vec<_> = expected.lines().filter(|line| !line.is_empty()).collect();
        let Loaded { template, findings } = load("t.yaml", &text);
        assert_eq!(findings.iter().map(marked).collect::<Vec<_>>(), expected, "{text}");
        assert_eq!(template.is_some(), expected.iter().all(|finding| finding.starts_with('W')));
    }
}

#[test]
fn findings_of_the_template() {
    check(include_str!("fixtures/findings/template.txt"));
}

#[test]
fn findings_of_steps() {
    check(include_str!("fixtures/findings/steps.txt"));
}

#[test]
fn findings_of_children() {
    check(include_str!("fixtures/findings/children.txt"));
}

#[test]
fn a_workflow_does_not_start_itself() {
    let text = "name: Self\nversion: '1'\ndescription: Starts itself.\nsteps: [{id: a, type: workflow, template: self}]\n";
    let Loaded { template, findings } = load("templates/self.workflow.yaml", text);
    assert!(template.is_none());
    let findings: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(findings, ["a workflow that starts itself would never end"]);
    assert!(load("other.workflow.yaml", text).template.is_some());
}

#[test]
fn findings_of_expressions() {
    check(include_str!("fixtures/findings/expressions.txt"));
}

#[test]
fn findings_of_gates() {
    check(include_str!("fixtures/findings/gates.txt"));
}

#[test]
fn findings_of_approvals() {
    check(include_str!("fixtures/findings/approvals.txt"));
}

#[test]
fn findings_of_messages() {
    check(include_str!("fixtures/findings/messages.txt"));
}

#[test]
fn findings_of_recovery() {
    check(include_str!("fixtures/findings/recovery.txt"));
}

#[test]
fn findings_of_branches() {
    check(include_str!("fixtures/findings/branches.txt"));
}

#[test]
fn findings_of_the_ways_through() {
    check(include_str!("fixtures/findings/ways.txt"));
}

#[test]
fn findings_of_yaml() {
    check(include_str!("fixtures/findings/yaml.txt"));
}

#[test]
fn findings_come_all_at_once() {
    check(include_str!("fixtures/findings/together.txt"));
}

#[test]
fn findings_of_size() {
    let large = format!("name: {}", "x".repeat(300 * 1024));
    let Loaded { findings, .. } = load("t.yaml", &large);
    assert_eq!(shown(&findings), ["t.yaml:1:1: the file is larger than 256 KiB"]);
    let many: String = (0..1001).map(|n| format!("  - {{id: s{n}, type: terminal}}\n")).collect();
    let Loaded { template, findings } = load("t.yaml", &[STEPS, many.as_str()].concat());
    assert!(template.is_none());
    let shown = shown(&findings);
    assert!(shown.contains(&"t.yaml:1005:5: a template has at most 1000 steps".to_owned()));
    assert_eq!(shown.len(), MAX_FINDINGS + 1);
    assert!(shown.last().is_some_and(|last| last.ends_with("more findings are not shown")));
}

#[test]
fn findings_serialise_for_interfaces() {
    let Loaded { findings, .. } = load(
        "t.yaml",
        "name: T\nversion: 1\ndescription: d\nsteps: [{id: a, type: terminal}]\nnotifciations: []\n",
    );
    let json = serde_json::to_value(findings.last().unwrap()).unwrap();
    let expected = serde_json::json!({
        "severity": "warning",
        "file": "t.yaml",
        "at": {"line": 5, "column": 1},
        "message": "unknown key 'notifciations' in the template is ignored",
        "nearest": "notifications",
    });
    assert_eq!(json, expected);
}
