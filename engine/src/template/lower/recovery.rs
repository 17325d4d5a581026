//! `error_handling:` and `error_recovery:`.

use indexmap::IndexMap;
use sluice_proto::ids::AgentName;

use crate::template::context::Context;
use crate::template::fields::{Fields, step_id};
use crate::template::keys;
use crate::template::model::{
    CircuitBreaker, ErrorHandling, ErrorRecovery, Escalation, LlmFallback, StepOverride, Target,
};
use crate::yaml::Kind;

const DEFAULT_FAILURE_THRESHOLD: u32 = 5;
/// The entry of an escalation path that means a person.
const PERSON: &str = "hitl";

pub(super) fn error_handling(
    cx: &mut Context<'_>,
    fields: &Fields<'_>,
) -> IndexMap<String, ErrorHandling> {
    let mut entries = IndexMap::new();
    for item in fields.list(cx, "error_handling") {
        let what = "an 'error_handling' entry";
        let Some(fields) = Fields::open(cx, item, &keys::ERROR_HANDLING, what) else { continue };
        fields.review(cx, None);
        let step = fields.step(cx, "step");
        let entry = ErrorHandling {
            on_error: on_error(cx, &fields, step),
            recovery_tier: fields.tier(cx, "recovery_tier"),
            max_retries: fields.integer(cx, "max_retries"),
            fail_fast: fields.boolean(cx, "fail_fast"),
            rollback: fields.boolean(cx, "rollback").unwrap_or(false),
            circuit_breaker: circuit_breaker(cx, &fields),
            escalation_path: escalation_path(cx, &fields),
        };
        let Some(step) = step else { continue };
        if entries.contains_key(step) {
            let message =
                format!("step '{step}' has an 'error_handling' entry already, this one is ignored");
            cx.findings.warning(fields.at, message);
        } else {
            entries.insert(step.to_owned(), entry);
        }
    }
    entries
}

/// Resolved where the step is: in its branch, if it is in one.
fn on_error(cx: &mut Context<'_>, fields: &Fields<'_>, step: Option<&str>) -> Option<Target> {
    let file = cx.targets.here();
    cx.targets.go_to(step.and_then(|step| cx.targets.find(step, file)).unwrap_or(file));
    let target = fields.target(cx, "on_error");
    cx.targets.go_to(file);
    target
}

fn circuit_breaker(cx: &mut Context<'_>, fields: &Fields<'_>) -> Option<CircuitBreaker> {
    let fields = fields.fields(cx, "circuit_breaker")?;
    fields.review(cx, None);
    let failure_threshold = fields.integer(cx, "failure_threshold");
    Some(CircuitBreaker {
        enabled: fields.boolean(cx, "enabled").unwrap_or(true),
        failure_threshold: failure_threshold.unwrap_or(DEFAULT_FAILURE_THRESHOLD),
    })
}

fn escalation_path(cx: &mut Context<'_>, fields: &Fields<'_>) -> Vec<String> {
    let mut path = Vec::new();
    for (text, at) in fields.texts(cx, "escalation_path") {
        match AgentName::parse(text) {
            Ok(agent) if agent.as_str() == PERSON => path.push(PERSON.to_owned()),
            Ok(agent) => path.push(agent.as_str().to_owned()),
            Err(error) => cx.findings.error(at, error.to_string()),
        }
    }
    path
}

pub(super) fn error_recovery(cx: &mut Context<'_>, fields: &Fields<'_>) -> ErrorRecovery {
    let Some(fields) = fields.fields(cx, "error_recovery") else { return ErrorRecovery::default() };
    fields.review(cx, None);
    ErrorRecovery {
        enabled: fields.boolean(cx, "enabled"),
        default_tier: fields.tier(cx, "default_tier"),
        max_workflow_retries: fields.integer(cx, "max_workflow_retries"),
        fail_fast: fields.boolean(cx, "fail_fast"),
        max_retries: fields.integer(cx, "max_retries"),
        step_overrides: step_overrides(cx, &fields),
        llm_fallback_chain: llm_fallback_chain(cx, &fields),
        escalation: escalation(cx, &fields),
    }
}

fn step_overrides(cx: &mut Context<'_>, fields: &Fields<'_>) -> IndexMap<String, StepOverride> {
    let mut overrides = IndexMap::new();
    let Some(node) = fields.node("step_overrides") else { return overrides };
    let Kind::Map(entries) = &node.kind else {
        let message = format!("'step_overrides' must be a mapping, found {}", node.describe());
        cx.findings.error(node.at, message);
        return overrides;
    };
    for (step, entry) in entries {
        let known = step_id(cx, step, entry.key_at);
        if entry.node.is_null() {
            continue;
        }
        let what = format!("the override of step '{step}'");
        let Some(fields) = Fields::open(cx, &entry.node, &keys::STEP_OVERRIDE, what) else {
            continue;
        };
        fields.review(cx, None);
        let value = StepOverride {
            max_tier: fields.tier(cx, "max_tier"),
            max_retries: fields.integer(cx, "max_retries"),
            fail_fast: fields.boolean(cx, "fail_fast"),
        };
        if known {
            overrides.insert(step.clone(), value);
        }
    }
    overrides
}

fn llm_fallback_chain(cx: &mut Context<'_>, fields: &Fields<'_>) -> Vec<LlmFallback> {
    let mut chain = Vec::new();
    for item in fields.list(cx, "llm_fallback_chain") {
        let what = "an entry of 'llm_fallback_chain'";
        let Some(fields) = Fields::open(cx, item, &keys::FALLBACK, what) else { continue };
        fields.review(cx, None);
        let provider = fields.text(cx, "provider").map(str::to_owned);
        if let Some(model) = fields.text(cx, "model") {
            chain.push(LlmFallback { model: model.to_owned(), provider });
        }
    }
    chain
}

fn escalation(cx: &mut Context<'_>, fields: &Fields<'_>) -> Option<Escalation> {
    let fields = fields.fields(cx, "escalation")?;
    fields.review(cx, None);
    Some(Escalation {
        on_any_failure: fields.boolean(cx, "on_any_failure").unwrap_or(false),
        create_linear_issue: fields.boolean(cx, "create_linear_issue").unwrap_or(false),
        priority: fields.text(cx, "priority").map(str::to_owned),
        notify_channels: fields.channels(cx, "notify_channels"),
    })
}
