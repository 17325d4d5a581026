//! Where a run goes: gate answers to targets, targets to the `next` that events carry, locks that
//! are kept on the way.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use sluice_proto::event::{Next, Outcome};

use crate::expr::Missing;
use crate::path::{beside, branch_of, branches_around};
use crate::scope::RunScope;
use crate::state::{Position, State};
use crate::template::{
    BRANCH_COMPLETE, Block, End, LlmGate, Rule, StepKind, Target, Template, answer_text,
};

/// Keys of a gate's answer that may name the route, in this order.
const ROUTING_KEYS: [&str; 4] = ["decision", "path", "risk_level", "is_docs_only"];

/// The target that ends a run well.
const WORKFLOW_COMPLETE: &str = "workflow_complete";

/// A gate's answer with the route it names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Routed<'t> {
    pub(crate) key: String,
    pub(crate) decision: String,
    pub(crate) target: &'t Target,
}

/// Finds the route that an answer names: the first routing key whose value has a target, else the
/// only key whose value has one.
///
/// # Errors
/// Says why no route follows. The run must not proceed then.
pub(crate) fn by_answer<'t>(
    gate: &'t LlmGate,
    answer: &Map<String, Value>,
) -> Result<Routed<'t>, String> {
    let route = |key: &str, value: &Value| {
        let decision = answer_text(value)?;
        let target = gate.routes.get(&decision)?;
        Some(Routed { key: key.to_owned(), decision, target })
    };
    let by_key = |key: &&str| answer.get(*key).and_then(|value| route(key, value));
    if let Some(routed) = ROUTING_KEYS.iter().find_map(by_key) {
        return Ok(routed);
    }
    let mut others = answer.iter().filter_map(|(key, value)| route(key, value));
    match (others.next(), others.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err("the answer names more than one route".to_owned()),
        (None, _) => {
            let expected: Vec<&str> = gate.routes.keys().map(String::as_str).collect();
            Err(format!("the answer names no route of the gate ({})", expected.join(", ")))
        }
    }
}

/// The answer of the first rule that applies, with what could not be evaluated on the way.
pub(crate) fn by_rules(
    rules: &[Rule],
    scope: &RunScope<'_>,
) -> (Option<Map<String, Value>>, Vec<String>) {
    let mut problems = Vec::new();
    for rule in rules {
        let check = scope.with(|roots| rule.when.check(roots));
        problems.extend(check.reason.iter().chain(&check.warning).cloned());
        if check.holds {
            let rendered = scope.with(|roots| rule.answer.render(roots));
            problems.extend(rendered.problems);
            return (rendered.value.as_object().cloned(), problems);
        }
    }
    (None, problems)
}

/// What an event says about going from the step at `path` to `target`; without one the run, or the
/// branch that the step is in, is complete.
pub(crate) fn to(
    template: &Template,
    scope: &RunScope<'_>,
    path: &str,
    target: Option<&Target>,
) -> Next {
    match target {
        Some(Target::Step(id)) => {
            let next = beside(path, id);
            let next_lock = lock_name(template, scope, &next);
            Next { next_step: Some(next), next_lock, outcome: None }
        }
        Some(Target::End(End { name, outcome })) => {
            Next { next_step: Some(name.clone()), next_lock: None, outcome: Some(*outcome) }
        }
        None => Next {
            next_step: Some(complete_name(path).to_owned()),
            next_lock: None,
            outcome: Some(Outcome::Completed),
        },
    }
}

fn complete_name(path: &str) -> &'static str {
    if branch_of(path).is_some() { BRANCH_COMPLETE } else { WORKFLOW_COMPLETE }
}

/// Where an unrecovered failure of the step at `path` leads: its own target, else that of its branch,
/// else the failure notification of the file, else plain failure.
pub(crate) fn after_failure(template: &Template, scope: &RunScope<'_>, path: &str) -> Next {
    if let Some(target) = template.failure_target(path) {
        return to(template, scope, path, Some(target));
    }
    plain_failure(template, path)
}

/// The end of a run, or of a branch, that fails where nothing else is said.
pub(crate) fn plain_failure(template: &Template, path: &str) -> Next {
    let target = template.default_failure(path);
    let name = target.name().to_owned();
    Next { next_step: Some(name), next_lock: None, outcome: Some(Outcome::Failed) }
}

/// Path of the step that `id` means at `path`.
pub(crate) fn seen_from(template: &Template, path: &str, id: &str) -> String {
    branches_around(path)
        .map(|branch| format!("{branch}.{id}"))
        .find(|path| template.step(path).is_some())
        .unwrap_or_else(|| id.to_owned())
}

/// Why a route counts as a diversion: it leads to a bad end or to a rollback step, at once or after
/// messages that say so.
pub(crate) fn is_diversion(template: &Template, next: &Next) -> bool {
    let is_bad = |outcome| matches!(outcome, Outcome::Failed | Outcome::RolledBack);
    if let Some(outcome) = next.outcome {
        return is_bad(outcome);
    }
    let Some(mut path) = next.next_step.clone() else { return false };
    // Messages that follow each other in a circle end nowhere.
    for _ in 0..template.block_of(&path).map_or(0, Block::len) {
        match template.step(&path).map(|step| &step.kind) {
            Some(StepKind::Notification(message)) => match &message.on_complete {
                Some(Target::Step(next)) => path = beside(&path, next),
                Some(Target::End(end)) => return is_bad(end.outcome),
                None => return false,
            },
            _ => return is_rollback(template, &path),
        }
    }
    false
}

/// Whether the step undoes what others did.
pub(crate) fn is_rollback(template: &Template, step: &str) -> bool {
    template
        .step(step)
        .is_some_and(|step| matches!(&step.kind, StepKind::AgentCall(call) if call.is_rollback))
}

/// The rendered name of the lock that the step at `step` runs under; `scope` is that of a step beside
/// it.
pub(crate) fn lock_name(template: &Template, scope: &RunScope<'_>, step: &str) -> Option<String> {
    let text = template.step(step)?.resource_lock.as_ref()?;
    Some(scope.with(|roots| text.render(roots, Missing::Empty)))
}

/// Whether a position keeps a lock that the run holds.
///
/// It does when its step names the lock; when its step names none and only people, branches and
/// messages stand between it and a step that names it, so that plan, approval and apply are one
/// critical section; and when it undoes what was done under the lock.
pub(crate) fn keeps(
    template: &Template,
    state: &State,
    lock: &str,
    path: &str,
    position: &Position,
) -> bool {
    if let Some(own) = &position.lock {
        return own == lock;
    }
    // What cleans up after a cancelled run does it under the locks that the run held.
    if state.cancellation.is_some() {
        return true;
    }
    if is_rollback(template, path) {
        // Taken by that step, or handed over to it.
        let taken_by = state.locks.get(lock).map(|held| held.step.as_str());
        let runs_under =
            |step: &str| lock_name(template, &RunScope::at(template, state, path), step);
        return position.from.as_deref().is_some_and(|from| {
            taken_by == Some(from) || runs_under(from).as_deref() == Some(lock)
        });
    }
    leads_to_lock(template, state, lock, path)
}

/// The lock that `step` runs under when the run goes on from it: its own, else the one that it was under
/// when the run came by.
pub(crate) fn lock_again(template: &Template, state: &State, step: &str) -> Option<String> {
    let scope = RunScope::new(state);
    if let Some(own) = lock_name(template, &scope, step) {
        return Some(own);
    }
    let came_from = state.way_back(step).skip(1).find_map(|id| lock_name(template, &scope, id));
    let undoes = is_rollback(template, step);
    came_from.filter(|lock| undoes || leads_to_lock(template, state, lock, step))
}

fn leads_to_lock(template: &Template, state: &State, lock: &str, from: &str) -> bool {
    let scope = RunScope::at(template, state, from);
    let Some(block) = template.block_of(from) else { return false };
    let mut seen = BTreeSet::new();
    let mut open = vec![from.rsplit_once('.').map_or(from, |(_, id)| id)];
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(step) = block.get(id) else { continue };
        if step.resource_lock.is_some() {
            if lock_name(template, &scope, &beside(from, id)).as_deref() == Some(lock) {
                return true;
            }
            continue;
        }
        if step.acts() || matches!(step.kind, StepKind::Terminal) {
            continue;
        }
        open.extend(step.targets().filter_map(|target| match target {
            Target::Step(next) => Some(next.as_str()),
            Target::End(_) => None,
        }));
    }
    false
}
