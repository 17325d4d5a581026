//! Questions about a template, each with the precedence rule that answers it.

use std::collections::BTreeSet;

use sluice_proto::ids::AgentName;

use super::model::{
    AgentCall, ErrorHandling, Notification, RetryLimits, Step, StepKind, StepOverride, Target,
    Template, Wait,
};

/// Revisits of one step by a back-edge when the template sets no limit of its own.
pub const DEFAULT_LOOP_BUDGET: u32 = 10;
/// Attempts after the first, for agents that only read.
pub const DEFAULT_RETRIES: u32 = 3;
/// Ceiling of automatic recovery for steps of templates that name none: retry with backoff.
const DEFAULT_TIER: u8 = 1;

impl Template {
    /// The step a run starts with.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a template without steps is never made")]
    pub fn entry(&self) -> &Step {
        self.steps.first().map(|(_, step)| step).expect("a checked template has at least one step")
    }

    /// The step of that id.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.get(id)
    }

    /// Where an unrecovered failure of a step leads: its own `on_failure` before the `on_error` of
    /// its `error_handling` entry. None: the run fails.
    #[must_use]
    pub fn failure_target(&self, step_id: &str) -> Option<&Target> {
        let own = match &self.step(step_id)?.kind {
            StepKind::AgentCall(AgentCall { on_failure, .. })
            | StepKind::Wait(Wait { on_failure, .. }) => on_failure.as_ref(),
            _ => None,
        };
        own.or_else(|| self.error_handling.get(step_id)?.on_error.as_ref())
    }

    /// How often, and by what means, a step is tried again. Its `error_handling` entry goes before
    /// `step_overrides`, and these before the defaults; of two ceilings the lower one counts.
    /// `agent_effects` says that the agent changes things: then nothing is repeated unless the
    /// template asks for it.
    #[must_use]
    pub fn retry_limits(&self, step_id: &str, agent_effects: bool) -> RetryLimits {
        let defaults = &self.error_recovery;
        let entry = self.error_handling.get(step_id);
        let changed = defaults.step_overrides.get(step_id);
        let retries = first(entry, changed, |e| e.max_retries, |o| o.max_retries);
        // What a step says about itself goes before what the file says about all of them.
        let fail_fast = first(entry, changed, |e| e.fail_fast, |o| o.fail_fast)
            .or(defaults.fail_fast.filter(|_| retries.is_none()))
            .unwrap_or(false);
        if fail_fast || defaults.enabled == Some(false) {
            return RetryLimits { max_retries: 0, tier: 0 };
        }
        let own = [entry.and_then(|e| e.recovery_tier), changed.and_then(|o| o.max_tier)];
        let tier =
            own.into_iter().flatten().min().or(defaults.default_tier).unwrap_or(DEFAULT_TIER);
        let max_retries = retries.or(defaults.max_retries).unwrap_or(if agent_effects {
            0
        } else {
            DEFAULT_RETRIES
        });
        RetryLimits { max_retries: if tier == 0 { 0 } else { max_retries }, tier }
    }

    /// How often a back-edge may enter the same step again.
    #[must_use]
    pub fn loop_budget(&self) -> u32 {
        match self.error_recovery.max_workflow_retries {
            None | Some(0) => DEFAULT_LOOP_BUDGET,
            Some(revisits) => revisits,
        }
    }

    /// The notifications that a virtual target or lifecycle event fires, in file order.
    pub fn notifications_for(&self, trigger: &str) -> impl Iterator<Item = &Notification> {
        self.notifications.iter().filter(move |notification| notification.trigger == trigger)
    }

    /// The agents that its steps call, each once, in the order of first use.
    #[must_use]
    pub fn participating_agents(&self) -> Vec<AgentName> {
        let mut seen = BTreeSet::new();
        let calls = self.steps.values().filter_map(|step| match &step.kind {
            StepKind::AgentCall(call) => Some(&call.agent),
            _ => None,
        });
        calls.filter(|agent| seen.insert((*agent).clone())).cloned().collect()
    }
}

fn first<T>(
    entry: Option<&ErrorHandling>,
    changed: Option<&StepOverride>,
    of_entry: impl Fn(&ErrorHandling) -> Option<T>,
    of_override: impl Fn(&StepOverride) -> Option<T>,
) -> Option<T> {
    entry.and_then(of_entry).or_else(|| changed.and_then(of_override))
}

impl Step {
    /// Every edge that leaves the step in the course of success, in file order.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        let targets: Vec<&Target> = match &self.kind {
            StepKind::AgentCall(call) => {
                let gated: Vec<&Target> = match &call.gate {
                    Some(super::Gate::Llm(gate)) => gate.routes.values().collect(),
                    Some(super::Gate::Deterministic(branch)) => {
                        vec![&branch.on_true, &branch.on_false]
                    }
                    None => call.on_success.iter().collect(),
                };
                gated.into_iter().chain(&call.on_failure).collect()
            }
            StepKind::Approval(approval) => {
                [&approval.on_approved, &approval.on_rejected, &approval.on_auto_approved]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            StepKind::Conditional(branch) => vec![&branch.on_true, &branch.on_false],
            StepKind::Notification(step) => step.on_complete.iter().collect(),
            StepKind::Terminal => Vec::new(),
            StepKind::Wait(wait) => wait.on_success.iter().chain(&wait.on_failure).collect(),
        };
        targets.into_iter()
    }
}
