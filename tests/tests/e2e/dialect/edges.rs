//! The ways out of every step of a template, whatever may happen in it.

use std::collections::BTreeSet;
use std::fmt;

use sluice_engine::template::{Gate, Outcome, Step, StepKind, Target, Template};

/// One way from a step to a step or a virtual target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) file: String,
    pub(super) step: String,
    pub(super) label: String,
    pub(super) target: String,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, step, label, target } = self;
        write!(f, "{file}: {step} {label} → {target}")
    }
}

/// Every edge of a template.
pub(super) fn edges(template: &Template) -> BTreeSet<Edge> {
    let mut ways: Vec<(String, String, String)> = Vec::new();
    for step in template.steps.values() {
        let own = ways_of(template, step);
        ways.extend(own.into_iter().map(|(label, target)| (step.id.clone(), label, target)));
    }
    for asked in asked_for_changes(template) {
        ways.push((asked.clone(), "on_resumed".to_owned(), asked.clone()));
        ways.push((asked, "on_given_up".to_owned(), "workflow_failed".to_owned()));
    }
    for head in loop_heads(template, &ways) {
        ways.push((head.clone(), "loop_limit".to_owned(), after_failure(template, &head)));
    }
    let edge = |(step, label, target)| Edge { file: template.file.clone(), step, label, target };
    ways.into_iter().map(edge).collect()
}

/// Label of the edge that an unrecovered failure of a step takes.
pub(super) fn failure_label(template: &Template, step: &str) -> &'static str {
    let own = match template.step(step).map(|step| &step.kind) {
        Some(StepKind::AgentCall(call)) => call.on_failure.is_some(),
        _ => false,
    };
    match template.failure_target(step) {
        Some(_) if own => "on_failure",
        Some(_) => "on_error",
        None => "default_failure",
    }
}

fn after_failure(template: &Template, step: &str) -> String {
    match template.failure_target(step) {
        Some(target) => target.name().to_owned(),
        None => default_failure(template),
    }
}

/// Where a run ends that fails where the file says nothing.
fn default_failure(template: &Template) -> String {
    let fires = template.notifications.iter().any(|entry| entry.trigger == "notify_failure");
    if fires { "notify_failure" } else { "workflow_failed" }.to_owned()
}

fn ways_of(template: &Template, step: &Step) -> Vec<(String, String)> {
    let complete = "workflow_complete".to_owned();
    let or_complete =
        |target: &Option<Target>| named(target.as_ref()).unwrap_or_else(|| complete.clone());
    let way = |label: &str, target: String| (label.to_owned(), target);
    match &step.kind {
        StepKind::AgentCall(call) => {
            let mut ways = match &call.gate {
                None => vec![way("on_success", or_complete(&call.on_success))],
                Some(Gate::Deterministic(branch)) => vec![
                    way("on_true", branch.on_true.name().to_owned()),
                    way("on_false", branch.on_false.name().to_owned()),
                ],
                Some(Gate::Llm(gate)) => {
                    let routes = gate.routes.iter();
                    let mut ways: Vec<_> = routes
                        .map(|(answer, target)| {
                            way(&format!("on_{answer}"), target.name().to_owned())
                        })
                        .collect();
                    ways.push(way("gate_error", after_failure(template, &step.id)));
                    ways
                }
            };
            ways.push(way(failure_label(template, &step.id), after_failure(template, &step.id)));
            ways
        }
        StepKind::Approval(approval) => {
            let rejected = named(approval.on_rejected.as_ref());
            let mut ways = vec![
                way("on_approved", or_complete(&approval.on_approved)),
                way("on_rejected", rejected.unwrap_or_else(|| default_failure(template))),
            ];
            ways.extend(
                named(approval.on_auto_approved.as_ref()).map(|to| way("on_auto_approved", to)),
            );
            ways
        }
        StepKind::Conditional(branch) => vec![
            way("on_true", branch.on_true.name().to_owned()),
            way("on_false", branch.on_false.name().to_owned()),
        ],
        StepKind::Notification(message) => {
            vec![way("on_complete", or_complete(&message.on_complete))]
        }
        StepKind::Terminal => vec![way("end", complete)],
    }
}

fn named(target: Option<&Target>) -> Option<String> {
    target.map(|target| target.name().to_owned())
}

/// The steps that a pause for changes sends the run back to: the agents' steps before it.
fn asked_for_changes(template: &Template) -> BTreeSet<String> {
    let pauses = |step: &&Step| {
        step.targets()
            .any(|target| matches!(target, Target::End(end) if end.outcome == Outcome::Paused))
    };
    let mut open: Vec<&Step> = template.steps.values().filter(pauses).collect();
    let mut seen = BTreeSet::new();
    let mut asked = BTreeSet::new();
    while let Some(step) = open.pop() {
        if !seen.insert(&step.id) {
            continue;
        }
        if matches!(step.kind, StepKind::AgentCall(_)) {
            asked.insert(step.id.clone());
            continue;
        }
        let leads_here = |other: &&Step| other.targets().any(|target| target.name() == step.id);
        open.extend(template.steps.values().filter(leads_here));
    }
    asked
}

/// The steps that an edge leads back to, found by a walk from the entry.
fn loop_heads(template: &Template, ways: &[(String, String, String)]) -> BTreeSet<String> {
    let mut walk = Walk { ways, path: Vec::new(), done: BTreeSet::new(), heads: BTreeSet::new() };
    walk.visit(&template.entry().id);
    walk.heads
}

struct Walk<'w> {
    ways: &'w [(String, String, String)],
    path: Vec<String>,
    done: BTreeSet<String>,
    heads: BTreeSet<String>,
}

impl Walk<'_> {
    fn visit(&mut self, step: &str) {
        if self.path.iter().any(|passed| passed == step) {
            self.heads.insert(step.to_owned());
            return;
        }
        if !self.done.insert(step.to_owned()) {
            return;
        }
        self.path.push(step.to_owned());
        let ways = self.ways;
        for (_, _, target) in ways.iter().filter(|(from, _, _)| from == step) {
            self.visit(target);
        }
        self.path.pop();
    }
}
