//! Checks that need the whole template: names in expressions, ways through the steps.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::context::{Context, Reference};
use super::finding::{Severity, nearest, quoted};
use super::model::{AgentCall, Position, Risk, Step, StepKind, Target, Template};
use super::query::DEFAULT_LOOP_BUDGET;

const ROOTS: [&str; 3] = ["context", "outputs", "workflow"];
const MINUS_HINT: &str = ", and a name with '-' in it is written outputs['a-b']";

/// Reports what does not fit together, and adds what follows from the whole.
pub(super) fn check(cx: &mut Context<'_>, mut template: Template) -> Template {
    check_references(cx);
    check_use_previous(cx, &template);
    if !cx.incomplete {
        check_reachable(cx, &template);
    }
    check_cycles(cx, &template);
    if template.required_context.is_empty() {
        template.required_context = mentioned_context(cx, &template.optional_context);
    }
    template
}

fn check_references(cx: &mut Context<'_>) {
    let references = std::mem::take(&mut cx.references);
    for reference in &references {
        check_reference(cx, reference);
    }
    cx.references = references;
}

fn check_reference(cx: &mut Context<'_>, reference: &Reference) {
    let Reference { root, name, offset, in_condition } = reference;
    let consequence =
        if *in_condition { "the condition never holds" } else { "it renders as nothing" };
    if !ROOTS.contains(&root.as_str()) {
        let severity = if *in_condition { Severity::Error } else { Severity::Warning };
        let minus = if cx.is_after_minus(*offset) { MINUS_HINT } else { "" };
        let roots = ROOTS.join(", ");
        let message = format!("{} is none of {roots}; {consequence}{minus}", quoted(root));
        let at = cx.position(*offset);
        return cx.findings.push(severity, at, message, nearest(root, ROOTS));
    }
    let Some(step) = name.as_ref().filter(|_| root == "outputs") else { return };
    if !cx.targets.steps.contains_key(step) {
        let message = format!("there is no step {}; {consequence}", quoted(step));
        let near = cx.targets.nearest_step(step);
        cx.findings.push(Severity::Warning, cx.position(*offset), message, near);
    }
}

/// The context keys that expressions read, for templates that do not list them.
fn mentioned_context(cx: &Context<'_>, optional: &[String]) -> Vec<String> {
    let read = cx.references.iter().filter(|reference| reference.root == "context");
    let mut keys: Vec<String> = Vec::new();
    for key in read.filter_map(|reference| reference.name.as_ref()) {
        if !keys.contains(key) && !optional.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}

fn check_use_previous(cx: &mut Context<'_>, template: &Template) {
    for step in template.steps.values() {
        let StepKind::Approval(approval) = &step.kind else { continue };
        let Some(Risk::UsePrevious { step: previous }) = &approval.risk else { continue };
        let answers = match template.step(previous).map(|previous| &previous.kind) {
            Some(StepKind::AgentCall(AgentCall { gate, .. })) => gate.is_some(),
            Some(_) => false,
            None => true,
        };
        if !answers {
            let message = format!(
                "step '{}' takes over the gate answer of '{previous}', which has no gate",
                step.id
            );
            cx.findings.warning(step.at, message);
        }
    }
}

/// Steps that edges lead to from `step`, whatever happens in it.
fn successors<'t>(template: &'t Template, step: &Step) -> impl Iterator<Item = &'t str> {
    template.ways_out(step).into_iter().filter_map(|edge| match edge.target {
        Target::Step(id) => template.steps.get_key_value(&id).map(|(id, _)| id.as_str()),
        Target::End(_) => None,
    })
}

fn check_reachable(cx: &mut Context<'_>, template: &Template) {
    let mut reached = BTreeSet::new();
    let entry = template.steps.keys().next().map(String::as_str);
    let mut open: Vec<&str> =
        entry.into_iter().chain(template.on_cancel.as_ref().map(Target::name)).collect();
    while let Some(id) = open.pop() {
        let Some(step) = template.step(id) else { continue };
        if reached.insert(id) {
            open.extend(successors(template, step));
        }
    }
    for (id, step) in &template.steps {
        if !reached.contains(id.as_str()) {
            cx.findings.warning(step.at, format!("step '{id}' is unreachable: no way leads to it"));
        }
    }
}

fn check_cycles(cx: &mut Context<'_>, template: &Template) {
    let limited = template.error_recovery.max_workflow_retries.is_some_and(|limit| limit > 0);
    let all = |_: &Step| true;
    let idle = |step: &Step| matches!(step.kind, StepKind::Conditional(_));
    for cycle in cycles(template, idle) {
        let message =
            format!("the loop {} only consists of conditions and would never end", shown(&cycle));
        cx.findings.error(place(template, &cycle), message);
    }
    if limited {
        return;
    }
    for cycle in cycles(template, all) {
        if cycle.iter().all(|id| template.step(id).is_some_and(idle)) {
            continue;
        }
        let message = format!(
            "the loop {} has no 'max_workflow_retries'; the engine ends it after {DEFAULT_LOOP_BUDGET} revisits",
            shown(&cycle)
        );
        cx.findings.warning(place(template, &cycle), message);
    }
}

fn shown(cycle: &[&str]) -> String {
    let closed: Vec<&str> = cycle.iter().chain(cycle.first()).copied().collect();
    closed.join(" → ")
}

fn place(template: &Template, cycle: &[&str]) -> Position {
    let first = cycle.first().and_then(|id| template.step(id));
    first.map_or_else(Position::default, |step| step.at)
}

/// One loop for each edge that leads back, found by a walk in file order through the steps that
/// `within` admits.
fn cycles(template: &Template, within: impl Fn(&Step) -> bool) -> Vec<Vec<&str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for start in template.steps.values() {
        if done.contains(start.id.as_str()) || !within(start) {
            continue;
        }
        // An explicit stack: a long chain of steps must not exhaust the real one.
        let mut path = IndexMap::new();
        path.insert(start.id.as_str(), successors(template, start).collect::<Vec<_>>().into_iter());
        while let Some((id, open)) = path.last_mut() {
            let id = *id;
            let Some(next) = open.next() else {
                path.pop();
                done.insert(id);
                continue;
            };
            if let Some(at) = path.get_index_of(next) {
                let cycle: Vec<&str> = path.keys().skip(at).copied().collect();
                if !found.contains(&cycle) {
                    found.push(cycle);
                }
            } else if !done.contains(next)
                && let Some(step) = template.step(next).filter(|step| within(step))
            {
                path.insert(next, successors(template, step).collect::<Vec<_>>().into_iter());
            }
        }
    }
    found
}
