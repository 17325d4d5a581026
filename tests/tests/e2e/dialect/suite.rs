//! Templates, and what belongs to their scenarios.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use sluice_engine::expr::Text;
use sluice_engine::template::{self, Gate, Risk, StepKind, Template};

/// A set of templates that is run along all of its edges.
pub(super) struct Suite {
    /// By file name without suffix.
    pub(super) templates: &'static [(&'static str, &'static str)],
    /// The agents the templates name, and whether they have effects.
    pub(super) agents: &'static [(&'static str, bool)],
    /// Text of the files of scenarios, one a template.
    pub(super) scenarios: &'static [&'static str],
}

impl Suite {
    /// The templates, which must have nothing wrong with them.
    pub(super) fn load(&self) -> Vec<(&'static str, Arc<Template>)> {
        self.templates.iter().map(|(name, text)| (*name, load(name, text))).collect()
    }
}

fn load(name: &str, text: &str) -> Arc<Template> {
    let loaded = template::load(&format!("{name}.workflow.yaml"), text);
    let findings = loaded.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Arc::new(loaded.template.unwrap_or_else(|| panic!("{name} is refused:\n{findings}")))
}

/// An edge of one of several templates.
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

/// Every edge of a template, as the engine knows them.
pub(super) fn edges(template: &Template) -> BTreeSet<Edge> {
    let edge = |edge: template::Edge| Edge {
        file: template.file.clone(),
        target: edge.target.name().to_owned(),
        step: edge.step,
        label: edge.label,
    };
    template.edges().into_iter().map(edge).collect()
}

/// The question that a step may put to a model.
pub(super) fn prompt<'t>(template: &'t Template, step: &str) -> Option<&'t Text> {
    match &template.step(step)?.kind {
        StepKind::AgentCall(call) => match &call.gate {
            Some(Gate::Llm(gate)) => Some(&gate.prompt),
            _ => None,
        },
        StepKind::Approval(approval) => match &approval.risk {
            Some(Risk::Llm { prompt, .. }) => Some(prompt),
            _ => None,
        },
        _ => None,
    }
}

/// The longest piece of a question that is the same in every run, and in that question only.
pub(super) fn constant_part(template: &Template, step: &str) -> Option<String> {
    let text = prompt(template, step)?.source();
    let outside = text.split("{{").flat_map(|part| part.split("}}").last());
    let pieces = outside.flat_map(|part| part.split(['\n', '"', '\\']));
    let piece = pieces.max_by_key(|piece| piece.len())?.to_owned();
    let others = template.steps.keys().filter(|other| *other != step);
    let others = others.filter_map(|other| prompt(template, other));
    for other in others {
        assert!(
            !other.source().contains(&piece),
            "{}: '{piece}' is in two questions",
            template.file
        );
    }
    Some(piece)
}
