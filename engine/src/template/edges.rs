//! The ways out of every step, whatever may happen in it: what the checker walks along, what a
//! drawing shows, and what tests of a template have to take.

use std::collections::BTreeSet;

use super::model::{AgentCall, Approval, Gate, Outcome, Step, StepKind, Target, Template, WaitEnd};
use super::query::ANY_ITEM;
use super::target;

/// One way from a step to a step or a virtual target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Where it begins: path of the step, with `*` for the items of a `for_each`.
    pub step: String,
    /// The key that leads along it, `on_keep`; or the reason where no key does: `gate_error` (nothing
    /// answered a gate), `default_failure`, `loop_limit`, `on_resumed` and `on_given_up` (a person's
    /// decision after a pause for changes), `end` of a terminal step, `branch_<name>` and `each_item`.
    pub label: String,
    /// Where it leads.
    pub target: Target,
    /// What takes a run along it.
    pub cause: Cause,
}

/// What takes a run along an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The step did its work, and this was the answer.
    Done,
    /// The step failed.
    Failed,
    /// A person decided after a pause for changes.
    Resumed,
    /// A branch of the step begins; the step goes on.
    Begun,
}

impl Template {
    /// Every edge of the template: step by step in file order, then the ways back from a pause for
    /// changes, then those out of loops that do not end.
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges: Vec<Edge> =
            self.all_steps().into_iter().flat_map(|step| self.ways_from(step)).collect();
        for asked in asked_for_changes(self) {
            let back = Target::Step(asked.to_owned());
            edges.push(edge(asked, "on_resumed", back, Cause::Resumed));
            edges.push(edge(asked, "on_given_up", failed_end(), Cause::Resumed));
        }
        let entries = self.blocks().into_iter().filter_map(|block| block.values().next());
        let heads: BTreeSet<String> =
            entries.flat_map(|entry| loop_heads(&entry.path, &edges)).collect();
        for head in heads {
            let target = self.in_branch(&head, self.after_failure(&head));
            edges.push(edge(&head, "loop_limit", target, Cause::Failed));
        }
        edges
    }

    /// The edges of a step, with whole paths in place of ids: into its branches, then out of it.
    fn ways_from(&self, step: &Step) -> impl Iterator<Item = Edge> {
        let into = step.blocks().filter_map(|(name, block)| {
            let label = match name {
                ANY_ITEM => "each_item".to_owned(),
                name => format!("branch_{name}"),
            };
            let first = Target::Step(block.values().next()?.path.clone());
            Some(edge(&step.path, &label, first, Cause::Begun))
        });
        let into: Vec<Edge> = into.collect();
        let out = self.ways_out(step).into_iter().map(|edge| Edge {
            step: step.path.clone(),
            target: self.in_branch(&step.path, edge.target),
            ..edge
        });
        into.into_iter().chain(out)
    }

    fn in_branch(&self, path: &str, target: Target) -> Target {
        match (path.rsplit_once('.'), target) {
            (Some((branch, _)), Target::Step(id)) => Target::Step(format!("{branch}.{id}")),
            (_, target) => target,
        }
    }

    /// The edges that one execution of a step can take, in file order, those of failures last.
    #[must_use]
    pub fn ways_out(&self, step: &Step) -> Vec<Edge> {
        let mut ways: Vec<(String, Target)> = Vec::new();
        let mut way = |label: &str, target: Target| ways.push((label.to_owned(), target));
        match &step.kind {
            StepKind::AgentCall(call) => match &call.gate {
                None => way("on_success", or_complete(step, call.on_success.as_ref())),
                Some(Gate::Deterministic(branch)) => {
                    way("on_true", branch.on_true.clone());
                    way("on_false", branch.on_false.clone());
                }
                Some(Gate::Llm(gate)) => {
                    for (answer, target) in &gate.routes {
                        way(&format!("on_{answer}"), target.clone());
                    }
                }
            },
            StepKind::Approval(approval) => self.ways_of_approval(step, approval, &mut way),
            StepKind::Conditional(branch) => {
                way("on_true", branch.on_true.clone());
                way("on_false", branch.on_false.clone());
            }
            StepKind::Notification(message) => {
                way("on_complete", or_complete(step, message.on_complete.as_ref()));
            }
            StepKind::Terminal => way("end", or_complete(step, None)),
            StepKind::Wait(wait) => way("on_success", or_complete(step, wait.on_success.as_ref())),
            StepKind::Fan(fan) => way("on_success", or_complete(step, fan.on_success.as_ref())),
            StepKind::Workflow(child) => {
                way("on_success", or_complete(step, child.on_success.as_ref()));
            }
        }
        let done = ways.into_iter().map(|(label, target)| Edge {
            step: step.id.clone(),
            label,
            target,
            cause: Cause::Done,
        });
        done.chain(self.ways_of_failure(step)).collect()
    }

    fn ways_of_approval(
        &self,
        step: &Step,
        approval: &Approval,
        way: &mut dyn FnMut(&str, Target),
    ) {
        way("on_approved", or_complete(step, approval.on_approved.as_ref()));
        let rejected = approval.on_rejected.clone();
        way("on_rejected", rejected.unwrap_or_else(|| self.default_failure(&step.path)));
        if let Some(target) = &approval.on_auto_approved {
            way("on_auto_approved", target.clone());
        }
    }

    fn ways_of_failure(&self, step: &Step) -> Vec<Edge> {
        let target = || self.after_failure(&step.path);
        let failed = |label| edge(&step.id, label, target(), Cause::Failed);
        let unanswered =
            matches!(step.kind, StepKind::AgentCall(AgentCall { gate: Some(Gate::Llm(_)), .. }));
        // Other steps have nothing in them that could fail, except a wait for a lock that ends. A length
        // of time that is written out cannot be misread; a moment can.
        let fails = match &step.kind {
            StepKind::AgentCall(_) | StepKind::Fan(_) | StepKind::Workflow(_) => true,
            StepKind::Wait(wait) => matches!(wait.end, WaitEnd::At(_)),
            _ => false,
        } || step.lock_wait_ms.is_some();
        let mut ways = Vec::new();
        ways.extend(unanswered.then(|| failed("gate_error")));
        ways.extend(fails.then(|| failed(self.failure_label(&step.path))));
        ways
    }

    /// Label of the edge that an unrecovered failure of a step takes.
    #[must_use]
    pub fn failure_label(&self, step: &str) -> &'static str {
        let own = self.step(step).is_some_and(|step| step.on_failure().is_some());
        match self.failure_target(step) {
            Some(_) if own => "on_failure",
            Some(_) => "on_error",
            None => "default_failure",
        }
    }

    /// Where an unrecovered failure of a step leads in any case.
    fn after_failure(&self, step: &str) -> Target {
        self.failure_target(step).cloned().unwrap_or_else(|| self.default_failure(step))
    }

    /// The end that a failure at a path leads to where nothing else is said: that of the branch; outside
    /// of branches the failure notification of the file, else plain failure.
    pub(crate) fn default_failure(&self, path: &str) -> Target {
        if path.contains('.') {
            return Target::End(target::branch_end(Outcome::Failed));
        }
        let fires = self.notifications_for("notify_failure").next().is_some();
        target::end("notify_failure").filter(|_| fires).map_or_else(failed_end, Target::End)
    }
}

fn edge(step: &str, label: &str, target: Target, cause: Cause) -> Edge {
    Edge { step: step.to_owned(), label: label.to_owned(), target, cause }
}

fn failed_end() -> Target {
    Target::End(target::failed_end())
}

/// Without a target the run, or the branch that the step is in, is complete.
fn or_complete(step: &Step, target: Option<&Target>) -> Target {
    let end = || match step.is_inner() {
        true => target::branch_end(Outcome::Completed),
        false => target::complete_end(),
    };
    target.cloned().unwrap_or_else(|| Target::End(end()))
}

/// The steps that a pause for changes sends the run back to: the agents' steps before it.
fn asked_for_changes(template: &Template) -> BTreeSet<&str> {
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
        if step.acts() {
            asked.insert(step.id.as_str());
            continue;
        }
        let leads_here = |other: &&Step| other.targets().any(|target| target.name() == step.id);
        open.extend(template.steps.values().filter(leads_here));
    }
    asked
}

/// The steps that an edge leads back to, found by a walk from the entry.
fn loop_heads(entry: &str, edges: &[Edge]) -> BTreeSet<String> {
    let mut heads = BTreeSet::new();
    let mut done = BTreeSet::new();
    let ways = |step: &str| -> Vec<&str> {
        let from = edges.iter().filter(|edge| edge.step == step);
        // Reversed, since the last one is taken first.
        from.rev()
            .filter_map(|edge| match &edge.target {
                Target::Step(id) => Some(id.as_str()),
                Target::End(_) => None,
            })
            .collect()
    };
    // An explicit stack: a long chain of steps must not exhaust the real one.
    done.insert(entry);
    let mut path = vec![(entry, ways(entry))];
    while let Some((_, open)) = path.last_mut() {
        let Some(next) = open.pop() else {
            path.pop();
            continue;
        };
        if path.iter().any(|(passed, _)| *passed == next) {
            heads.insert(next.to_owned());
        } else if done.insert(next) {
            path.push((next, ways(next)));
        }
    }
    heads
}
