//! What the engine must know about an agent before it calls it.

use std::collections::BTreeMap;

use crate::ids::AgentName;

/// Longest execution of one attempt where nobody says otherwise, milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 120_000;

/// The part of an `agents.yaml` entry that decides how attempts are handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentTraits {
    /// It changes the world or spends money: attempts are claimed first, and not retried by default.
    pub effects: bool,
    /// It honours the idempotency key: an attempt lost after its claim may be repeated.
    pub idempotent: bool,
    /// Longest execution of one attempt, milliseconds.
    pub timeout_ms: u64,
}

/// The agents that are known, by name.
#[derive(Clone, Debug, Default)]
pub struct AgentCatalogue {
    agents: BTreeMap<AgentName, AgentTraits>,
}

impl AgentCatalogue {
    /// A catalogue of these agents.
    #[must_use]
    pub fn new(agents: BTreeMap<AgentName, AgentTraits>) -> Self {
        Self { agents }
    }

    /// The traits of `name`. An agent nobody declared is taken for one that changes things when its
    /// name is one that does by convention, and is never taken for idempotent.
    #[must_use]
    pub fn traits(&self, name: &AgentName) -> AgentTraits {
        self.agents.get(name).cloned().unwrap_or_else(|| AgentTraits {
            effects: matches!(name.as_str(), "infrastructure" | "cicd"),
            idempotent: false,
            timeout_ms: DEFAULT_TIMEOUT_MS,
        })
    }
}
