//! Checks that need the whole template: names in expressions, ways through the steps.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::context::{Context, Reference};
use super::finding::{Severity, nearest, quoted};
use super::model::{AgentCall, Block, Position, Risk, Step, StepKind, Target, Template};
use super::query::DEFAULT_LOOP_BUDGET;
use crate::path::is_within;

const ROOTS: [&str; 3] = ["context", "outputs", "workflow"];
/// Within a `for_each`.
const ITEM_ROOTS: [&str; 5] = ["context", "outputs", "workflow", "item", "index"];
const MINUS_HINT: &str = ", and a name with '-' in it is written outputs['a-b']";

/// Reports what does not fit together, and adds what follows from the whole.
pub(super) fn check(cx: &mut Context<'_>, mut template: Template) -> Template {
    check_references(cx);
    check_use_previous(cx, &template);
    check_locks(cx, &template);
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
    let Reference { root, name, offset, in_condition, block } = reference;
    let consequence =
        if *in_condition { "the condition never holds" } else { "it renders as nothing" };
    let roots = if cx.targets.has_item(*block) { ITEM_ROOTS.as_slice() } else { &ROOTS };
    if !roots.contains(&root.as_str()) {
        let severity = if *in_condition { Severity::Error } else { Severity::Warning };
        let minus = if cx.is_after_minus(*offset) { MINUS_HINT } else { "" };
        let shown = roots.join(", ");
        let message = format!("{} is none of {shown}; {consequence}{minus}", quoted(root));
        let at = cx.position(*offset);
        return cx.findings.push(severity, at, message, nearest(root, roots.iter().copied()));
    }
    let Some(step) = name.as_ref().filter(|_| root == "outputs") else { return };
    if cx.targets.find_output(step, *block).is_none() {
        let message = format!("there is no step {}; {consequence}", quoted(step));
        let near = cx.targets.nearest_step(step, *block);
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
    for step in template.all_steps() {
        let StepKind::Approval(approval) = &step.kind else { continue };
        let Some(Risk::UsePrevious { step: previous }) = &approval.risk else { continue };
        let answers = match template.step_seen_from(&step.path, previous).map(|step| &step.kind) {
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
fn successors<'t>(
    template: &'t Template,
    block: &'t Block,
    step: &Step,
) -> impl Iterator<Item = &'t str> + use<'t> {
    template.ways_out(step).into_iter().filter_map(|edge| match edge.target {
        Target::Step(id) => block.get_key_value(&id).map(|(id, _)| id.as_str()),
        Target::End(_) => None,
    })
}

fn check_reachable(cx: &mut Context<'_>, template: &Template) {
    for block in template.blocks() {
        let mut reached = BTreeSet::new();
        let entry = block.values().next();
        let of_file = entry.is_some_and(|entry| !entry.is_inner());
        let on_cancel = template.on_cancel.as_ref().filter(|_| of_file).map(Target::name);
        let mut open: Vec<&str> =
            entry.into_iter().map(|entry| entry.id.as_str()).chain(on_cancel).collect();
        while let Some(id) = open.pop() {
            let Some(step) = block.get(id) else { continue };
            if reached.insert(id) {
                open.extend(successors(template, block, step));
            }
        }
        for (id, step) in block {
            if !reached.contains(id.as_str()) {
                let message = format!("step '{id}' is unreachable: no way leads to it");
                cx.findings.warning(step.at, message);
            }
        }
    }
}

/// A run that holds the lock of a step with branches and waits for another lock in one of them may wait
/// for a run that does the same the other way round.
fn check_locks(cx: &mut Context<'_>, template: &Template) {
    for step in template.all_steps() {
        let Some(own) = &step.resource_lock else { continue };
        let all = template.all_steps().into_iter();
        for inner in all.filter(|inner| is_within(&inner.path, &step.path)) {
            let other = inner.resource_lock.as_ref().filter(|lock| lock.source() != own.source());
            if other.is_some() {
                let message = format!(
                    "step '{}' waits for a lock while '{}' holds another: two runs may wait for each other",
                    inner.id, step.id
                );
                cx.findings.warning(inner.at, message);
            }
        }
    }
}

fn check_cycles(cx: &mut Context<'_>, template: &Template) {
    for block in template.blocks() {
        check_cycles_of(cx, template, block);
    }
}

fn check_cycles_of(cx: &mut Context<'_>, template: &Template, block: &Block) {
    let limited = template.error_recovery.max_workflow_retries.is_some_and(|limit| limit > 0);
    let all = |_: &Step| true;
    let idle = |step: &Step| matches!(step.kind, StepKind::Conditional(_));
    for cycle in cycles(template, block, idle) {
        let message =
            format!("the loop {} only consists of conditions and would never end", shown(&cycle));
        cx.findings.error(place(block, &cycle), message);
    }
    if limited {
        return;
    }
    for cycle in cycles(template, block, all) {
        if cycle.iter().all(|id| block.get(*id).is_some_and(idle)) {
            continue;
        }
        let message = format!(
            "the loop {} has no 'max_workflow_retries'; the engine ends it after {DEFAULT_LOOP_BUDGET} revisits",
            shown(&cycle)
        );
        cx.findings.warning(place(block, &cycle), message);
    }
}

fn shown(cycle: &[&str]) -> String {
    let closed: Vec<&str> = cycle.iter().chain(cycle.first()).copied().collect();
    closed.join(" → ")
}

fn place(block: &Block, cycle: &[&str]) -> Position {
    let first = cycle.first().and_then(|id| block.get(*id));
    first.map_or_else(Position::default, |step| step.at)
}

/// One loop for each edge that leads back, found by a walk in file order through the steps that
/// `within` admits.
fn cycles<'t>(
    template: &'t Template,
    block: &'t Block,
    within: impl Fn(&Step) -> bool,
) -> Vec<Vec<&'t str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for start in block.values() {
        if done.contains(start.id.as_str()) || !within(start) {
            continue;
        }
        // An explicit stack: a long chain of steps must not exhaust the real one.
        let mut path = IndexMap::new();
        path.insert(
            start.id.as_str(),
            successors(template, block, start).collect::<Vec<_>>().into_iter(),
        );
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
                && let Some(step) = block.get(next).filter(|step| within(step))
            {
                path.insert(
                    next,
                    successors(template, block, step).collect::<Vec<_>>().into_iter(),
                );
            }
        }
    }
    found
}
