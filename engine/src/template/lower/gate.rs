//! `decision_gate:` and the rules that it shares with `risk_assessment:`.

use indexmap::IndexMap;
use serde_json::Value;

use super::step::conditional;
use crate::expr::Text;
use crate::template::context::Context;
use crate::template::fields::{Fields, target};
use crate::template::finding::{Severity, nearest, quoted};
use crate::template::keys::{self, DETERMINISTIC, LLM};
use crate::template::model::{Conditional, Gate, LlmGate, Rule, Target};
use crate::template::target::{answer_text, normalise_answer};
use crate::template::value::constants;

/// The two spellings of each branch of a deterministic gate.
const WHEN_TRUE: [&str; 2] = ["on_true", "on_success"];
const WHEN_FALSE: [&str; 2] = ["on_false", "on_failure"];

pub(super) fn gate(cx: &mut Context<'_>, step: &Fields<'_>) -> Option<Gate> {
    let fields = step.fields(cx, "decision_gate")?;
    let kind = kind(cx, &fields)?;
    fields.review(cx, Some(kind));
    Some(if kind == DETERMINISTIC {
        Gate::Deterministic(deterministic(cx, &fields))
    } else {
        Gate::Llm(llm(cx, &fields))
    })
}

/// A gate without a type is what its other keys make it.
fn kind(cx: &mut Context<'_>, fields: &Fields<'_>) -> Option<&'static str> {
    if fields.has("type") {
        return fields.choice(cx, "type");
    }
    let kind = if fields.has("condition") && !fields.has("prompt") { DETERMINISTIC } else { LLM };
    let message = format!("'type' is missing in 'decision_gate', it is taken for '{kind}'");
    cx.findings.warning(fields.at, message);
    Some(kind)
}

fn deterministic(cx: &mut Context<'_>, fields: &Fields<'_>) -> Conditional {
    for (name, entry) in fields.entries() {
        let branch = WHEN_TRUE.contains(&name) || WHEN_FALSE.contains(&name);
        if name.starts_with("on_") && !branch {
            let message =
                format!("no answer leads to {}: the condition is true or false", quoted(name));
            cx.findings.error(entry.key_at, message);
        }
    }
    let on_true = branch(cx, fields, WHEN_TRUE);
    let on_false = branch(cx, fields, WHEN_FALSE);
    conditional(cx, fields, on_true, on_false)
}

fn branch(cx: &mut Context<'_>, fields: &Fields<'_>, names: [&str; 2]) -> Option<Target> {
    let mut found = None;
    for name in names {
        let node = fields.entries().find(|(key, _)| *key == name).map(|(_, entry)| &entry.node);
        let Some(node) = node.filter(|node| !node.is_null()) else { continue };
        if found.is_some() {
            let message = format!("'{}' and '{}' are the same answer", names[0], names[1]);
            cx.findings.error(fields.key_at(name), message);
        }
        found = Some(target(cx, name, node));
    }
    if found.is_none() {
        fields.missing(cx, names[0]);
    }
    found.flatten()
}

fn llm(cx: &mut Context<'_>, fields: &Fields<'_>) -> LlmGate {
    let prompt = fields.template(cx, "prompt");
    let rules = rules(cx, fields);
    let routes = routes(cx, fields);
    for (rule, answer_at) in &rules {
        check_answer(cx, rule, *answer_at, &routes);
    }
    LlmGate {
        prompt: prompt.unwrap_or_else(|| Text::literal("")),
        rules: rules.into_iter().map(|(rule, _)| rule).collect(),
        routes: routes.into_iter().filter_map(|(answer, target)| Some((answer, target?))).collect(),
    }
}

/// Every `on_<answer>`; none where the target is wrong.
fn routes(cx: &mut Context<'_>, fields: &Fields<'_>) -> IndexMap<String, Option<Target>> {
    let mut routes: IndexMap<String, Option<Target>> = IndexMap::new();
    for (name, entry) in fields.entries() {
        let Some(answer) = name.strip_prefix("on_").map(normalise_answer) else { continue };
        let route = target(cx, name, &entry.node);
        if answer.is_empty() {
            cx.findings.error(entry.key_at, format!("no answer leads to {}", quoted(name)));
        } else if routes.contains_key(&answer) {
            let message = format!("{} is the answer '{answer}' once more", quoted(name));
            cx.findings.error(entry.key_at, message);
        } else {
            routes.insert(answer, route);
        }
    }
    if routes.is_empty() {
        cx.findings
            .error(fields.at, "'decision_gate' has no 'on_<answer>', so no answer leads anywhere");
    }
    routes
}

/// `rules:`, each with the place of its answer.
pub(super) fn rules(
    cx: &mut Context<'_>,
    fields: &Fields<'_>,
) -> Vec<(Rule, crate::template::Position)> {
    let mut rules = Vec::new();
    for item in fields.list(cx, "rules") {
        let Some(fields) = Fields::open(cx, item, &keys::RULE, "a rule") else { continue };
        fields.review(cx, None);
        let when = fields.condition(cx, "when");
        let answer = fields.payload(cx, "answer");
        if let (Some(when), Some(answer)) = (when, answer) {
            rules.push((Rule { when, answer }, fields.value_at("answer")));
        }
    }
    rules
}

/// An answer written out must lead somewhere.
fn check_answer(
    cx: &mut Context<'_>,
    rule: &Rule,
    at: crate::template::Position,
    routes: &IndexMap<String, Option<Target>>,
) {
    let Some(answer) = constants(&rule.answer) else { return };
    let words: Vec<String> = answer.values().filter_map(answer_text).collect();
    if routes.is_empty() || words.iter().any(|word| routes.contains_key(word)) {
        return;
    }
    let near = words.iter().find_map(|word| nearest(word, routes.keys().map(String::as_str)));
    let shown = quoted(&Value::Object(answer).to_string());
    let message = format!("the answer {shown} matches no 'on_<answer>' of the gate");
    cx.findings.push(Severity::Error, at, message, near);
}
