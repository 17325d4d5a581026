use super::*;

#[test]
fn well_known_names_end_a_run() {
    for (name, outcome) in [
        ("workflow_complete", Outcome::Completed),
        ("workflow_failed", Outcome::Failed),
        ("workflow_paused", Outcome::Paused),
        ("notify_failure", Outcome::Failed),
        ("notify_test_failure", Outcome::Failed),
        ("notify_success", Outcome::Completed),
        ("notify_rollback", Outcome::RolledBack),
    ] {
        assert_eq!(end(name), Some(End { name: name.to_owned(), outcome }));
        let text =
            with_steps(&format!("  - {{id: a, type: agent_call, agent: x, on_success: {name}}}\n"));
        let expected = Target::End(End { name: name.to_owned(), outcome });
        assert_eq!(loaded(&text).entry().targets().collect::<Vec<_>>(), [&expected]);
    }
    assert_eq!(end("notify_rejected"), None);
    assert_eq!(end("notify_rollback_failed"), None);
}

/// Where `target` leads in a file with the steps `notify_rollback`, `end` (terminal) and these
/// triggers.
fn resolved(target: &str) -> Target {
    let text = with_steps(&format!(
        "  - {{id: a, type: agent_call, agent: x, on_success: {target}, on_failure: notify_rollback}}
  - {{id: notify_rollback, type: notification, channels: [log], on_complete: end}}
  - {{id: end, type: terminal}}
notifications:
  - {{trigger: end, channels: [log]}}
  - {{trigger: notify_success, channels: [log]}}
  - {{trigger: on_rollback_done, channels: [log]}}
  - {{trigger: celebrate_success, channels: [log]}}
  - {{trigger: all_complete, channels: [log]}}
  - {{trigger: page_somebody, channels: [log]}}
"
    ));
    loaded(&text).entry().targets().next().unwrap().clone()
}

#[test]
fn targets_resolve_in_order() {
    let step = |name: &str| Target::Step(name.to_owned());
    let end = |name: &str, outcome| Target::End(End { name: name.to_owned(), outcome });
    for (name, expected) in [
        ("notify_rollback", step("notify_rollback")),
        ("end", step("end")),
        ("notify_success", end("notify_success", Outcome::Completed)),
        ("on_rollback_done", end("on_rollback_done", Outcome::RolledBack)),
        ("celebrate_success", end("celebrate_success", Outcome::Completed)),
        ("all_complete", end("all_complete", Outcome::Completed)),
        ("page_somebody", end("page_somebody", Outcome::Failed)),
    ] {
        assert_eq!(resolved(name), expected);
    }
}

#[test]
fn failures_lead_to_on_failure_then_on_error() {
    let template = loaded(INFRASTRUCTURE);
    for (step, expected) in [
        ("apply_changes", Some("rollback_changes")),
        ("rollback_changes", Some("notify_rollback_failed")),
        ("plan", Some("notify_failure")),
        ("update_documentation", None),
        ("notify_rejected", None),
        ("nobody", None),
    ] {
        assert_eq!(template.failure_target(step).map(Target::name), expected, "{step}");
    }
}

/// Limits of step `a` under an `error_handling` entry, an override and workflow defaults.
fn limits(entry: &str, changed: &str, defaults: &str, effects: bool) -> (u32, u8) {
    let text = with_steps(&format!(
        "  - {{id: a, type: agent_call, agent: x}}
error_handling:
  - {{step: a, {entry}}}
error_recovery: {{step_overrides: {{a: {{{changed}}}}}, {defaults}}}
"
    ));
    let RetryLimits { max_retries, tier } = loaded(&text).retry_limits("a", effects);
    (max_retries, tier)
}

#[test]
fn retry_limits_follow_precedence() {
    for (entry, changed, defaults, effects, expected) in [
        ("", "", "", false, (3, 1)),
        ("", "", "", true, (0, 1)),
        ("", "", "max_retries: 5", true, (5, 1)),
        ("", "max_retries: 4", "max_retries: 5", true, (4, 1)),
        ("max_retries: 2", "max_retries: 4", "max_retries: 5", false, (2, 1)),
        ("max_retries: 0", "max_retries: 4", "", false, (0, 1)),
        ("", "max_retries: 0", "", false, (0, 1)),
        ("", "", "default_tier: TIER_2", false, (3, 2)),
        ("", "max_tier: TIER_3", "default_tier: TIER_2", false, (3, 3)),
        ("recovery_tier: TIER_4", "max_tier: TIER_2", "", false, (3, 2)),
        ("recovery_tier: TIER_1", "max_tier: TIER_2", "", false, (3, 1)),
        ("recovery_tier: TIER_4", "", "default_tier: TIER_0", false, (3, 4)),
        ("recovery_tier: TIER_0, max_retries: 2", "", "", false, (0, 0)),
        ("max_retries: 2", "", "default_tier: TIER_0", false, (0, 0)),
        ("fail_fast: true, max_retries: 2, recovery_tier: TIER_2", "", "", false, (0, 0)),
        ("max_retries: 2", "fail_fast: true", "", false, (0, 0)),
        ("max_retries: 2", "", "fail_fast: true", false, (2, 1)),
        ("fail_fast: false, max_retries: 2", "fail_fast: true", "", false, (2, 1)),
        ("", "fail_fast: false", "fail_fast: true", false, (3, 1)),
        ("max_retries: 2, recovery_tier: TIER_3", "", "enabled: false", false, (0, 0)),
        ("max_retries: 2", "", "enabled: true", true, (2, 1)),
    ] {
        let found = limits(entry, changed, defaults, effects);
        assert_eq!(found, expected, "{entry} | {changed} | {defaults} | {effects}");
    }
}

#[test]
fn loops_have_a_budget() {
    for (written, budget) in
        [("", 10), ("max_workflow_retries: 0", 10), ("max_workflow_retries: 2", 2)]
    {
        let text =
            with_steps(&format!("  - {{id: a, type: terminal}}\nerror_recovery: {{{written}}}\n"));
        assert_eq!(loaded(&text).loop_budget(), budget);
    }
}

#[test]
fn agents_are_listed_in_the_order_of_first_use() {
    let agents = loaded(RELEASE).participating_agents();
    let agents: Vec<_> = agents.iter().map(|agent| agent.as_str()).collect();
    assert_eq!(agents, ["code-review", "cicd", "infrastructure", "documentation"]);
}

#[test]
fn summaries() {
    let release = summary(&loaded(RELEASE));
    assert_eq!(release.steps_count, 7);
    assert_eq!(release.estimated_duration_minutes, 6 * 2 + 5);
    assert_eq!(release.risk_level, EstimatedRisk::High);
    for (agent, words, expected) in [
        ("documentation", "", EstimatedRisk::Low),
        ("documentation", "deploy", EstimatedRisk::Medium),
        ("infrastructure", "", EstimatedRisk::Medium),
        ("infrastructure", "Deploy", EstimatedRisk::High),
        ("documentation", "to Production", EstimatedRisk::High),
    ] {
        let text =
            with_steps(&format!("  - {{id: a, type: agent_call, agent: {agent}}}\n# {words}\n"));
        assert_eq!(summary(&loaded(&text)).risk_level, expected, "{agent} {words}");
    }
}

#[test]
fn slugs() {
    for (file, expected) in [
        ("hotfix.workflow.yaml", "hotfix"),
        ("templates/pr-deployment.workflow.yaml", "pr-deployment"),
        ("infrastructure.workflow.yaml", "infra"),
        ("docs-update", "docs-update"),
    ] {
        assert_eq!(slug(file), expected);
    }
}

#[test]
fn answers_are_normalised() {
    for (written, expected) in
        [(" Full-Stack ", "full_stack"), ("code only", "code_only"), ("ÜBER", "über")]
    {
        assert_eq!(normalise_answer(written), expected);
    }
    assert_eq!(answer_text(&true.into()).as_deref(), Some("true"));
    assert_eq!(answer_text(&"Proceed".into()).as_deref(), Some("proceed"));
    assert_eq!(answer_text(&5.into()), None);
}
