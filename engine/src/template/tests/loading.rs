use serde_json::{Value, json};

use super::*;
use crate::expr::Payload;

#[test]
fn fixtures_load_without_a_remark() {
    for (name, text) in [("release", RELEASE), ("infrastructure", INFRASTRUCTURE)] {
        let Loaded { template, findings } = load(name, text);
        assert_eq!(shown(&findings), Vec::<String>::new());
        assert!(template.is_some());
    }
}

#[test]
fn a_loop_of_the_first_generation_is_only_remarked_on() {
    let Loaded { template, findings } = load("f", FIRST_GENERATION);
    let remark = "f:19:5: the loop implement → review → implement has no 'max_workflow_retries'; \
                  the engine ends it after 10 revisits";
    assert_eq!(shown(&findings), [remark]);
    assert_eq!(template.unwrap().loop_budget(), 10);
}

fn every_key() -> Template {
    let Loaded { template, findings } = load("every-key.workflow.yaml", EVERY_KEY);
    let remark = "every-key.workflow.yaml:48:16: 'condition' needs no braces around its expression";
    assert_eq!(shown(&findings), [remark]);
    template.unwrap()
}

fn names<'t>(targets: impl IntoIterator<Item = &'t Option<Target>>) -> Vec<Option<&'t str>> {
    targets.into_iter().map(|target| target.as_ref().map(Target::name)).collect()
}

#[test]
fn keys_of_the_template() {
    let template = every_key();
    assert_eq!(template.file, "every-key.workflow.yaml");
    assert_eq!(template.sha256.len(), 64);
    assert_eq!(template.name, "Every Key");
    assert_eq!(template.version, "3");
    assert_eq!(template.description, "Has every key of the language.");
    assert!(template.urgent);
    assert_eq!(template.required_context, ["alpha", "beta"]);
    assert_eq!(template.optional_context, ["gamma"]);
    assert_eq!(template.steps.len(), 13);
    assert_eq!(template.all_steps().len(), 17);
    assert_eq!(template.entry().id, "ask-model");
    let Position { line, column } = template.entry().at;
    assert_eq!((line, column), (10, 5));
}

#[test]
fn keys_of_a_gated_agent_call() {
    let template = every_key();
    let step = template.entry();
    assert_eq!(step.resource_lock.as_ref().unwrap().source(), "lock:{{ context.alpha }}");
    assert_eq!(step.lock_wait_ms, Some(300_000));
    assert_eq!(step.timeout_ms, Some(90_000));
    assert_eq!(step.queue_timeout_ms, Some(3_600_000));
    let StepKind::AgentCall(call) = &step.kind else { panic!() };
    assert_eq!(call.agent.as_str(), "feature-dev");
    assert!(call.is_rollback);
    let expected = json!({
        "text": "{{ context.alpha }}",
        "action": "rollback",
        "nested": {"list": [1, "{{ context.beta }}", null, 1.5, true]},
    });
    assert_eq!(call.payload.source(), expected);
    assert_eq!(names([&call.on_success, &call.on_failure]), [Some("check"), Some("clean_up")]);
    let Some(Gate::Llm(gate)) = &call.gate else { panic!() };
    assert_eq!(gate.prompt.source(), "Go? {{ outputs['ask-model'].score }}");
    let routes: Vec<_> = gate.routes.iter().map(|(k, v)| (k.as_str(), v.name())).collect();
    assert_eq!(routes, [("full_stack", "check"), ("false", "done"), ("true", "done")]);
    assert_eq!(gate.rules.len(), 2);
    assert_eq!(gate.rules[0].when.source(), "outputs['ask-model'].score >= 0.9");
    assert_eq!(gate.rules[1].answer, Payload::compile(json!({"ok": false})));
}

#[test]
fn keys_of_a_deterministic_gate_and_a_condition() {
    let template = every_key();
    let StepKind::AgentCall(call) = &template.step("check").unwrap().kind else { panic!() };
    let Some(Gate::Deterministic(gate)) = &call.gate else { panic!() };
    assert_eq!(gate.condition.source(), "outputs.check.passed == outputs.check.total");
    assert_eq!((gate.on_true.name(), gate.on_false.name()), ("branch", "done"));
    assert_eq!(call.payload.source(), json!({}));
    assert_eq!(template.step("check").unwrap().timeout_ms, Some(250));
    let StepKind::Conditional(branch) = &template.step("branch").unwrap().kind else { panic!() };
    assert_eq!(branch.condition.source(), "outputs.check.total > 0");
    assert_eq!((branch.on_true.name(), branch.on_false.name()), ("approve", "tell"));
}

#[test]
fn keys_of_approvals() {
    let template = every_key();
    let approval = |id: &str| match &template.step(id).unwrap().kind {
        StepKind::Approval(approval) => approval.as_ref().clone(),
        _ => panic!(),
    };
    let asked = approval("approve");
    let Some(Risk::Llm { prompt, rules }) = &asked.risk else { panic!() };
    assert_eq!((prompt.source(), rules.len()), ("Risky?", 1));
    assert_eq!(asked.details.unwrap().source(), json!({"what": "{{ outputs.check }}"}));
    assert_eq!(asked.pr_context.unwrap().constant("pr_url"), Some(&json!("u")));
    let edges = [&asked.on_approved, &asked.on_rejected, &asked.on_auto_approved];
    assert_eq!(names(edges), [Some("approve_fixed"), Some("done"), Some("tell")]);
    assert_eq!(asked.required_approvals, 1);

    let fixed = approval("approve_fixed");
    let Some(Risk::Override { risk_level, approver_role }) = &fixed.risk else { panic!() };
    assert_eq!(risk_level.as_deref(), Some("high"));
    assert_eq!(approver_role.as_deref(), Some("devops_engineer"));
    assert_eq!(fixed.required_approvals, 3);

    let previous = approval("approve_previous");
    let Some(Risk::UsePrevious { step }) = &previous.risk else { panic!() };
    assert_eq!(step, "ask-model");
    assert_eq!(previous.required_approvals, 2);
}

#[test]
fn keys_of_messages_and_terminal_steps() {
    let template = every_key();
    let StepKind::Notification(step) = &template.step("tell").unwrap().kind else { panic!() };
    assert_eq!(step.message.channels, ["slack", "log"]);
    assert_eq!(step.message.template.as_deref(), Some("feature_complete"));
    assert_eq!(step.message.priority, "critical");
    assert!(step.message.payload.is_some());
    assert_eq!(names([&step.on_complete]), [Some("cool_down")]);
    assert!(matches!(template.step("done").unwrap().kind, StepKind::Terminal));
    let notification = template.notifications_for("workflow_failed").next().unwrap();
    assert_eq!(notification.trigger, "workflow_failed");
    assert_eq!(notification.message.channels.len(), 6);
    assert_eq!(notification.message.priority, "urgent");
}

#[test]
fn keys_of_waits() {
    let template = every_key();
    let wait = |id: &str| match &template.step(id).unwrap().kind {
        StepKind::Wait(wait) => wait.clone(),
        other => panic!("{other:?}"),
    };
    let length = wait("cool_down");
    assert!(matches!(length.end, WaitEnd::After(900_000)));
    assert_eq!(
        names([&length.on_success, &length.on_failure]),
        [Some("quiet_hours"), Some("done")]
    );
    let WaitEnd::At(moment) = wait("quiet_hours").end else { panic!() };
    assert_eq!(moment.source(), "{{ context.quiet_until }}");
}

#[test]
fn keys_of_children() {
    let template = every_key();
    let StepKind::Workflow(child) = &template.step("child").unwrap().kind else { panic!() };
    assert_eq!(child.template, "other.workflow.yaml");
    assert_eq!(child.context.source(), serde_json::json!({"parts": "{{ context.parts }}"}));
    assert_eq!(names([&child.on_success, &child.on_failure]), [Some("done"), Some("done")]);
}

#[test]
fn keys_of_branches() {
    let template = every_key();
    let fan = |path: &str| match &template.step(path).unwrap().kind {
        StepKind::Fan(fan) => fan.clone(),
        other => panic!("{other:?}"),
    };
    let outer = fan("side_by_side");
    assert_eq!((outer.join, outer.fail_fast), (Join::Count(1), false));
    assert_eq!(names([&outer.on_success, &outer.on_failure]), [Some("child"), Some("done")]);
    let FanSource::Branches(branches) = &outer.source else { panic!() };
    assert_eq!(branches.keys().collect::<Vec<_>>(), ["left", "right"]);
    let inner = fan("side_by_side.right.each");
    assert_eq!((inner.join, inner.fail_fast), (Join::Count(1), true));
    let FanSource::Items { items, max_concurrent, steps } = &inner.source else { panic!() };
    assert_eq!(items.source(), "{{ context.parts }}");
    assert_eq!((*max_concurrent, steps.len()), (Some(3), 1));
    let part = template.step("side_by_side.right.each.17.part").unwrap();
    assert_eq!((part.id.as_str(), part.path.as_str()), ("part", "side_by_side.right.each.*.part"));
    assert_eq!(template.retry_limits("side_by_side.right.each.17.part", false).max_retries, 6);
    let target = template.failure_target("side_by_side.left.build").unwrap();
    assert_eq!(*target, Target::Step("mend".to_owned()));
    let StepKind::AgentCall(mend) = &template.step("side_by_side.left.mend").unwrap().kind else {
        panic!()
    };
    let end = End { name: "branch_failed".to_owned(), outcome: Outcome::Failed };
    assert_eq!(mend.on_success, Some(Target::End(end)));
    for path in ["side_by_side.left", "side_by_side.middle.build", "side_by_side.left.build.x.y"] {
        assert!(template.step(path).is_none(), "{path}");
    }
}

#[test]
fn keys_of_error_handling_and_recovery() {
    let template = every_key();
    let entry = &template.error_handling["check"];
    assert_eq!(names([&entry.on_error]), [Some("notify_failure")]);
    assert_eq!((entry.recovery_tier, entry.max_retries), (Some(3), Some(2)));
    assert_eq!((entry.fail_fast, entry.rollback), (Some(false), true));
    let breaker = entry.circuit_breaker.unwrap();
    assert_eq!((breaker.enabled, breaker.failure_threshold), (false, 7));
    assert_eq!(entry.escalation_path, ["code-review", "hitl"]);

    let recovery = &template.error_recovery;
    assert_eq!((recovery.enabled, recovery.default_tier), (Some(true), Some(2)));
    assert_eq!((recovery.max_workflow_retries, recovery.max_retries), (Some(4), Some(1)));
    assert_eq!(recovery.fail_fast, Some(false));
    let changed = &recovery.step_overrides["clean_up"];
    assert_eq!((changed.max_tier, changed.max_retries), (Some(1), Some(5)));
    assert_eq!(changed.fail_fast, Some(true));
    let chain: Vec<_> = recovery
        .llm_fallback_chain
        .iter()
        .map(|f| (f.model.as_str(), f.provider.as_deref()))
        .collect();
    assert_eq!(chain, [("a", Some("p")), ("b", None)]);
    let escalation = recovery.escalation.as_ref().unwrap();
    assert!(escalation.on_any_failure && escalation.create_linear_issue);
    assert_eq!(escalation.priority.as_deref(), Some("urgent"));
    assert_eq!(escalation.notify_channels, ["email", "pagerduty"]);
}

#[test]
fn what_is_left_out_has_a_default() {
    let template = loaded("name: T\nsteps:\n  - {id: a, type: agent_call, agent: cicd}\n");
    assert_eq!((template.version.as_str(), template.description.as_str()), ("1.0", ""));
    assert!(!template.urgent);
    let StepKind::AgentCall(call) = &template.entry().kind else { panic!() };
    assert!(call.gate.is_none() && call.on_success.is_none() && !call.is_rollback);
    assert_eq!(call.payload.source(), Value::Object(serde_json::Map::new()));
}

#[test]
fn a_version_is_text_however_it_is_written() {
    for (written, version) in
        [("1.0", "1.0"), ("'2'", "2"), ("1.10", "1.10"), ("2024-01-02", "2024-01-02")]
    {
        let text = format!(
            "name: T\nversion: {written}\ndescription: d\nsteps:\n  - {{id: a, type: terminal}}\n"
        );
        assert_eq!(load("t", &text).findings, []);
        assert_eq!(loaded(&text).version, version);
    }
}

#[test]
fn context_keys_are_collected_where_they_are_not_listed() {
    let keys = ["pr_number", "github_repo", "focus", "branch", "pr_url"];
    assert_eq!(loaded(RELEASE).required_context, keys);
}

#[test]
fn merged_payloads_keep_their_own_values() {
    let template = loaded(RELEASE);
    let StepKind::AgentCall(call) = &template.step("deploy_production").unwrap().kind else {
        panic!()
    };
    let expected =
        json!({"environment": "production", "action": "deploy", "ref": "{{ context.branch }}"});
    assert_eq!(call.payload.source(), expected);
}

#[test]
fn approvals_are_counted() {
    for (keys, expected) in [
        ("", 1),
        ("requires_multiple_approvals: true", 2),
        ("requires_multiple_approvals: true\n      approval_count: 4", 4),
        ("requires_multiple_approvals: false\n      approval_count: 4", 1),
        ("approval_count: 3", 3),
        ("approval_count: 1", 1),
    ] {
        let text = with_steps(&format!(
            "  - id: a\n    type: hitl_approval\n    on_approved: workflow_complete\n    on_rejected: \
             workflow_failed\n    risk_assessment:\n      risk_level: high\n      {keys}\n"
        ));
        let template = loaded(&text);
        let StepKind::Approval(approval) = &template.entry().kind else { panic!() };
        assert_eq!(approval.required_approvals, expected, "{keys}");
    }
}
