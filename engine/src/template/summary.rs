//! What a list of templates shows of each.

use serde::Serialize;
use sluice_proto::ids::AgentName;

use super::model::{StepKind, Template};

const SUFFIX: &str = ".workflow.yaml";
const MINUTES_PER_AGENT_CALL: u32 = 2;
const MINUTES_PER_APPROVAL: u32 = 5;
const MINUTES_PER_OTHER_STEP: u32 = 1;

/// The line of one template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many steps it has.
    pub steps_count: usize,
    /// The agents its steps call, in the order of first use.
    pub agents_involved: Vec<String>,
    /// A guess from the kinds of steps.
    pub estimated_duration_minutes: u32,
    /// A guess from what the file mentions.
    pub risk_level: EstimatedRisk,
}

/// How much a template could break, guessed from the words in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EstimatedRisk {
    /// Touches nothing that runs.
    Low,
    /// Deploys something, or changes infrastructure.
    Medium,
    /// Touches production, or deploys infrastructure.
    High,
}

impl EstimatedRisk {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The part of a file name that workflow ids and subjects start with.
#[must_use]
pub fn slug(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(SUFFIX).unwrap_or(name);
    // Ids of infrastructure runs have always been short.
    if name == "infrastructure" { "infra".to_owned() } else { name.to_owned() }
}

/// Describes a template for lists.
#[must_use]
pub fn summary(template: &Template) -> Summary {
    let steps = template.all_steps();
    let minutes = steps.iter().map(|step| match step.kind {
        StepKind::AgentCall(_) => MINUTES_PER_AGENT_CALL,
        StepKind::Approval(_) => MINUTES_PER_APPROVAL,
        _ => MINUTES_PER_OTHER_STEP,
    });
    let agents = template.participating_agents();
    Summary {
        steps_count: steps.len(),
        agents_involved: agents.iter().map(|agent| agent.as_str().to_owned()).collect(),
        estimated_duration_minutes: minutes.sum(),
        risk_level: estimated_risk(&agents, template),
    }
}

fn estimated_risk(agents: &[AgentName], template: &Template) -> EstimatedRisk {
    let infrastructure = agents.iter().any(|agent| agent.as_str() == "infrastructure");
    let deploys = template.mentions_deploy;
    if template.mentions_production || (infrastructure && deploys) {
        EstimatedRisk::High
    } else if infrastructure || deploys {
        EstimatedRisk::Medium
    } else {
        EstimatedRisk::Low
    }
}
