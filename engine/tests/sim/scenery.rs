//! What does not change: templates and agents, loaded once for all seeds.

use std::collections::BTreeMap;

use sluice_engine::template::{Severity, Template, load};
use sluice_proto::agents::{AgentCatalogue, AgentTraits};
use sluice_proto::ids::AgentName;

const FILES: [(&str, &str); 11] = [
    ("ancestor.workflow.yaml", include_str!("templates/ancestor.yaml")),
    ("chain.workflow.yaml", include_str!("templates/chain.yaml")),
    ("deploy.workflow.yaml", include_str!("templates/deploy.yaml")),
    ("docs.workflow.yaml", include_str!("templates/docs.yaml")),
    ("family.workflow.yaml", include_str!("templates/family.yaml")),
    ("fan.workflow.yaml", include_str!("templates/fan.yaml")),
    ("feature.workflow.yaml", include_str!("templates/feature.yaml")),
    ("gatekeeper.workflow.yaml", include_str!("templates/gatekeeper.yaml")),
    ("hotfix.workflow.yaml", include_str!("templates/hotfix.yaml")),
    ("infrastructure.workflow.yaml", include_str!("templates/infrastructure.yaml")),
    ("regions.workflow.yaml", include_str!("templates/regions.yaml")),
];

/// Name, effects, idempotent.
const AGENTS: [(&str, bool, bool); 8] = [
    ("builder", false, false),
    ("cicd", true, false),
    ("code-review", false, true),
    ("documentation", false, false),
    ("infrastructure", true, false),
    ("merger", true, false),
    ("planner", true, true),
    ("tester", true, true),
];

/// Longest execution of an agent here, milliseconds.
const TIMEOUT_MS: u64 = 60_000;

pub(crate) struct Scenery {
    pub(crate) templates: Vec<Template>,
    pub(crate) agents: AgentCatalogue,
    /// Every agent, the reserved ones included.
    names: Vec<AgentName>,
}

impl Scenery {
    pub(crate) fn load() -> Self {
        let agents: BTreeMap<AgentName, AgentTraits> = AGENTS
            .iter()
            .map(|(name, effects, idempotent)| {
                let traits = AgentTraits {
                    effects: *effects,
                    idempotent: *idempotent,
                    timeout_ms: TIMEOUT_MS,
                };
                (AgentName::parse(name).expect("the names above are names"), traits)
            })
            .collect();
        let mut names: Vec<AgentName> = agents.keys().cloned().collect();
        names.extend([AgentName::llm(), AgentName::notify()]);
        Self {
            templates: FILES.iter().map(|(file, text)| template(file, text)).collect(),
            agents: AgentCatalogue::new(agents),
            names,
        }
    }

    /// Lanes are numbered: two an agent, the urgent one second.
    pub(crate) fn lane(&self, agent: &AgentName, urgent: bool) -> usize {
        let agent = self.names.iter().position(|name| name == agent).unwrap_or_default();
        agent * 2 + usize::from(urgent)
    }

    pub(crate) fn lanes(&self) -> usize {
        self.names.len() * 2
    }
}

fn template(file: &str, text: &str) -> Template {
    let loaded = load(file, text);
    let errors: Vec<String> = loaded
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    loaded.template.expect("a file without errors is a template")
}
