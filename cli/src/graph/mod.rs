//! A template as a drawing: what stands in it, and two ways to put it on paper.
//!
//! The edges are the engine's own. Those that lead from the same step to the same place for the same
//! kind of reason are drawn as one, with the answers as its label.

mod colour;
pub(crate) mod dot;
pub(crate) mod svg;

use sluice_engine::template::{
    AgentCall, Approval, Cause, Edge, Fan, FanSource, Gate, Join, Outcome, Risk, Step, StepKind,
    Target, Template, WaitEnd,
};

/// Longest line in a step, in characters.
const MAX_LINE: usize = 46;

/// What is drawn of a template.
pub(crate) struct Graph {
    /// Human name and version.
    pub(crate) title: String,
    pub(crate) file: String,
    pub(crate) description: String,
    /// In file order; the first is the entry.
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
}

/// A step.
pub(crate) struct Node {
    /// Its path: in a branch, with the step and the branch before it.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Who does it, and who chooses the way; at most three lines.
    pub(crate) lines: Vec<String>,
    /// Its lock, as it is written.
    pub(crate) lock: Option<String>,
}

/// What a step looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Agent,
    Rollback,
    Approval,
    Condition,
    Message,
    Wait,
    Branches,
    Child,
    Terminal,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Agent,
        Self::Approval,
        Self::Condition,
        Self::Message,
        Self::Wait,
        Self::Branches,
        Self::Child,
        Self::Rollback,
        Self::Terminal,
    ];

    /// As people call it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Rollback => "rollback",
            Self::Approval => "a person decides",
            Self::Condition => "condition",
            Self::Message => "message",
            Self::Wait => "wait",
            Self::Branches => "branches",
            Self::Child => "workflow",
            Self::Terminal => "end",
        }
    }
}

/// One or more edges between the same two places.
pub(crate) struct Link {
    /// Index of the node it leaves.
    pub(crate) from: usize,
    pub(crate) to: Place,
    pub(crate) cause: Cause,
    /// The answers that lead along it, in file order.
    pub(crate) labels: Vec<String>,
}

impl Link {
    pub(crate) fn label(&self) -> String {
        self.labels.join(" · ")
    }

    pub(crate) fn is_failure(&self) -> bool {
        self.cause == Cause::Failed
    }
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The node of that index.
    Node(usize),
    /// A virtual target.
    End { name: String, outcome: Outcome },
}

impl Place {
    /// Name of the virtual target, if it is one.
    fn end_name(&self) -> Option<&str> {
        match self {
            Self::Node(_) => None,
            Self::End { name, .. } => Some(name),
        }
    }
}

impl Graph {
    pub(crate) fn of(template: &Template) -> Self {
        let mut graph = Self {
            title: format!("{} {}", template.name, template.version),
            file: template.file.clone(),
            description: template.description.clone(),
            nodes: template.all_steps().into_iter().map(Node::of).collect(),
            links: Vec::new(),
        };
        for edge in template.edges() {
            graph.add(edge);
        }
        if let Some(Target::Step(id)) = &template.on_cancel
            && let Some(n) = graph.index_of(id)
        {
            graph.nodes[n].lines.push("also first after a cancellation".to_owned());
        }
        graph
    }

    fn index_of(&self, path: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == path)
    }

    fn add(&mut self, edge: Edge) {
        let place = match edge.target {
            Target::Step(path) => self.index_of(&path).map(Place::Node),
            Target::End(end) => Some(Place::End { name: end.name, outcome: end.outcome }),
        };
        let (Some(from), Some(to)) = (self.index_of(&edge.step), place) else {
            debug_assert!(false, "an edge of a checked template leads somewhere");
            return;
        };
        let label = readable(&edge.label);
        let same =
            |link: &&mut Link| link.from == from && link.to == to && link.cause == edge.cause;
        match self.links.iter_mut().find(same) {
            Some(link) if link.labels.contains(&label) => {}
            Some(link) => link.labels.push(label),
            None => self.links.push(Link { from, to, cause: edge.cause, labels: vec![label] }),
        }
    }

    pub(crate) fn links_from(&self, node: usize) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| link.from == node)
    }

    /// The virtual targets that something leads to, each once.
    pub(crate) fn ends(&self) -> Vec<(&str, Outcome)> {
        let mut ends = Vec::new();
        for link in &self.links {
            if let Place::End { name, outcome } = &link.to
                && !ends.contains(&(name.as_str(), *outcome))
            {
                ends.push((name.as_str(), *outcome));
            }
        }
        ends
    }

    /// The whole drawing in words, for those who cannot see it.
    pub(crate) fn in_words(&self) -> String {
        let mut words = format!("{} {} steps.", self.description, self.nodes.len());
        for (n, node) in self.nodes.iter().enumerate() {
            let ways = self.links_from(n).map(|link| {
                let to = match &link.to {
                    Place::Node(to) => self.nodes[*to].id.as_str(),
                    Place::End { name, .. } => name,
                };
                format!("{} to {to}", link.labels.join(" or "))
            });
            let ways: Vec<String> = ways.collect();
            let lock = node.lock.as_ref().map(|lock| format!(" under the lock {lock}"));
            let lock = lock.unwrap_or_default();
            words += &format!(" {} ({}){lock}: {}.", node.id, node.kind.words(), ways.join(", "));
        }
        words
    }
}

impl Node {
    fn of(step: &Step) -> Self {
        let (kind, lines) = match &step.kind {
            StepKind::AgentCall(call) => of_call(call),
            StepKind::Approval(approval) => (Kind::Approval, of_approval(approval)),
            StepKind::Conditional(branch) => {
                (Kind::Condition, vec![one_line(branch.condition.source())])
            }
            StepKind::Notification(step) => {
                (Kind::Message, vec![format!("to {}", step.message.channels.join(", "))])
            }
            StepKind::Wait(wait) => (Kind::Wait, vec![of_wait(&wait.end)]),
            StepKind::Fan(fan) => (Kind::Branches, of_fan(fan)),
            StepKind::Workflow(child) => (Kind::Child, vec![child.template.clone()]),
            StepKind::Terminal if step.is_inner() => {
                (Kind::Terminal, vec!["the branch is complete".to_owned()])
            }
            StepKind::Terminal => (Kind::Terminal, vec!["the run is complete".to_owned()]),
        };
        let lock = step.resource_lock.as_ref().map(|lock| one_line(lock.source()));
        Self { id: step.path.clone(), kind, lines, lock }
    }
}

fn of_call(call: &AgentCall) -> (Kind, Vec<String>) {
    let kind = if call.is_rollback { Kind::Rollback } else { Kind::Agent };
    let mut lines = vec![call.agent.as_str().to_owned()];
    lines.extend(call.gate.as_ref().map(|gate| match gate {
        Gate::Llm(gate) => format!("gate: {}", of_rules(gate.rules.len())),
        Gate::Deterministic(branch) => format!("gate: {}", one_line(branch.condition.source())),
    }));
    (kind, lines)
}

fn of_approval(approval: &Approval) -> Vec<String> {
    let people = match approval.required_approvals {
        1 => "a person decides".to_owned(),
        n => format!("{n} people decide"),
    };
    let risk = match &approval.risk {
        None => return vec![people],
        Some(Risk::Llm { rules, .. }) => of_rules(rules.len()),
        Some(Risk::Override { risk_level, .. }) => {
            risk_level.clone().unwrap_or_else(|| "fixed".to_owned())
        }
        Some(Risk::UsePrevious { step }) => format!("as {step} found"),
    };
    vec![people, format!("risk: {risk}")]
}

fn of_wait(end: &WaitEnd) -> String {
    let milliseconds = match end {
        WaitEnd::At(moment) => return format!("until {}", one_line(moment.source())),
        WaitEnd::After(milliseconds) => milliseconds,
    };
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.iter().find(|(unit, _)| *milliseconds > 0 && milliseconds % unit == 0);
    match whole {
        Some((unit, name)) => format!("for {} {name}", milliseconds / unit),
        None => format!("for {milliseconds} ms"),
    }
}

fn of_fan(fan: &Fan) -> Vec<String> {
    let join = match fan.join {
        Join::All => "all must end well".to_owned(),
        Join::Count(1) => "one must end well".to_owned(),
        Join::Count(n) => format!("{n} must end well"),
    };
    let first = match &fan.source {
        FanSource::Branches(branches) => format!("{} side by side", branches.len()),
        FanSource::Items { items, max_concurrent, .. } => {
            let of = items.source();
            let of = one_line(&of.as_str().map_or_else(|| of.to_string(), str::to_owned));
            match max_concurrent {
                Some(n) => format!("{n} at a time of {of}"),
                None => format!("each of {of}"),
            }
        }
    };
    vec![first, join]
}

fn of_rules(rules: usize) -> String {
    match rules {
        0 => "a model".to_owned(),
        1 => "1 rule, then a model".to_owned(),
        n => format!("{n} rules, then a model"),
    }
}

/// `on_proceed` is "proceed"; what the engine calls otherwise gets words too.
fn readable(label: &str) -> String {
    match label {
        "on_failure" | "on_error" | "default_failure" => "failure",
        "gate_error" => "no answer",
        "loop_limit" => "too often",
        "on_resumed" => "changes made",
        "on_given_up" => "given up",
        "on_auto_approved" => "auto-approved",
        "on_complete" => "sent",
        "end" => "done",
        "each_item" => "each item",
        branch if branch.starts_with("branch_") => return branch.replacen('_', " ", 1),
        other => other.strip_prefix("on_").unwrap_or(other),
    }
    .to_owned()
}

/// The beginning of a text that is too long for a line in a step.
fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_LINE {
        return text.to_owned();
    }
    text.chars().take(MAX_LINE - 1).chain(['…']).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The word for what a virtual target makes of a run.
pub(crate) fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Failed => "failed",
        Outcome::RolledBack => "rolled back",
        Outcome::Paused => "paused",
        Outcome::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests;
