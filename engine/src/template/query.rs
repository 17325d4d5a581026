//! Questions about a template, each with the precedence rule that answers it.

use std::collections::BTreeSet;

use sluice_proto::ids::AgentName;

use crate::path::branches_around;

use super::model::{
    AgentCall, Block, ErrorHandling, FanSource, Notification, RetryLimits, Step, StepKind,
    StepOverride, Target, Template, Wait,
};

/// Revisits of one step by a back-edge when the template sets no limit of its own.
pub const DEFAULT_LOOP_BUDGET: u32 = 10;
/// Attempts after the first, for agents that only read.
pub const DEFAULT_RETRIES: u32 = 3;
/// Stands for the index of any item in the paths of a template.
pub(crate) const ANY_ITEM: &str = "*";
/// Ceiling of automatic recovery for steps of templates that name none: retry with backoff.
const DEFAULT_TIER: u8 = 1;

impl Template {
    /// The step a run starts with.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a template without steps is never made")]
    pub fn entry(&self) -> &Step {
        self.steps.first().map(|(_, step)| step).expect("a checked template has at least one step")
    }

    /// The step at a path: an id, or ids with branches or indexes between them.
    #[must_use]
    pub fn step(&self, path: &str) -> Option<&Step> {
        let mut parts = path.split('.');
        let mut step = self.steps.get(parts.next()?)?;
        while let Some(branch) = parts.next() {
            step = step.block(branch)?.get(parts.next()?)?;
        }
        Some(step)
    }

    /// The step that `id` means at a path: among the steps there, then among those around them.
    #[must_use]
    pub fn step_seen_from(&self, path: &str, id: &str) -> Option<&Step> {
        branches_around(path)
            .find_map(|branch| self.step(&format!("{branch}.{id}")))
            .or_else(|| self.step(id))
    }

    /// Sorts paths by where their steps are in the file, items by their index.
    pub(crate) fn place(&self, path: &str) -> Vec<usize> {
        let mut place = Vec::new();
        let mut parts = path.split('.');
        let mut block = Some(&self.steps);
        while let Some(id) = parts.next() {
            let found = block.and_then(|block| block.get_full(id));
            place.push(found.map_or(usize::MAX, |(index, ..)| index));
            let Some(branch) = parts.next() else { break };
            let step = found.map(|(.., step)| step);
            let nth = step.and_then(|step| step.blocks().position(|(name, _)| name == branch));
            place.push(nth.or_else(|| branch.parse().ok()).unwrap_or(usize::MAX));
            block = step.and_then(|step| step.block(branch));
        }
        place
    }

    /// The steps around the one at a path, itself among them.
    #[must_use]
    pub fn block_of(&self, path: &str) -> Option<&Block> {
        let Some((branch, _)) = path.rsplit_once('.') else { return Some(&self.steps) };
        let (fan, branch) = branch.rsplit_once('.')?;
        self.step(fan)?.block(branch)
    }

    /// Every list of steps that targets resolve in: that of the file, then those of branches in file
    /// order.
    #[must_use]
    pub fn blocks(&self) -> Vec<&Block> {
        let mut blocks = vec![&self.steps];
        let mut next = 0;
        while let Some(block) = blocks.get(next).copied() {
            next += 1;
            blocks.extend(block.values().flat_map(Step::blocks).map(|(_, block)| block));
        }
        blocks
    }

    /// Every step, those in branches right after the step whose branches they are.
    #[must_use]
    pub fn all_steps(&self) -> Vec<&Step> {
        let mut steps = Vec::new();
        let mut open: Vec<&Step> = self.steps.values().rev().collect();
        while let Some(step) = open.pop() {
            steps.push(step);
            let mut inner: Vec<&Step> =
                step.blocks().flat_map(|(_, block)| block.values()).collect();
            inner.reverse();
            open.extend(inner);
        }
        steps
    }

    /// Where an unrecovered failure of a step leads: its own `on_failure` before the `on_error` of
    /// its `error_handling` entry. None: the run fails.
    #[must_use]
    pub fn failure_target(&self, path: &str) -> Option<&Target> {
        let step = self.step(path)?;
        step.on_failure().or_else(|| self.error_handling.get(&step.path)?.on_error.as_ref())
    }

    /// The `error_handling` entry of the step at a path.
    #[must_use]
    pub fn error_handling_of(&self, path: &str) -> Option<&ErrorHandling> {
        self.error_handling.get(&self.step(path)?.path)
    }

    /// How often, and by what means, a step is tried again. Its `error_handling` entry goes before
    /// `step_overrides`, and these before the defaults; of two ceilings the lower one counts.
    /// `agent_effects` says that the agent changes things: then nothing is repeated unless the
    /// template asks for it.
    #[must_use]
    pub fn retry_limits(&self, path: &str, agent_effects: bool) -> RetryLimits {
        let defaults = &self.error_recovery;
        let declared = self.step(path).map_or(path, |step| step.path.as_str());
        let entry = self.error_handling.get(declared);
        let changed = defaults.step_overrides.get(declared);
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
        let calls = self.all_steps().into_iter().filter_map(|step| match &step.kind {
            StepKind::AgentCall(call) => Some(&call.agent),
            _ => None,
        });
        calls.filter(|agent| seen.insert((*agent).clone())).cloned().collect()
    }
}

/// Whether this is an index as engines write it, or stands for any.
fn is_index(branch: &str) -> bool {
    branch == ANY_ITEM || (!branch.is_empty() && branch.bytes().all(|byte| byte.is_ascii_digit()))
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
            StepKind::Fan(fan) => fan.on_success.iter().chain(&fan.on_failure).collect(),
            StepKind::Workflow(child) => child.on_success.iter().chain(&child.on_failure).collect(),
        };
        targets.into_iter()
    }

    /// Its own target after a failure.
    #[must_use]
    pub fn on_failure(&self) -> Option<&Target> {
        match &self.kind {
            StepKind::AgentCall(AgentCall { on_failure, .. })
            | StepKind::Wait(Wait { on_failure, .. }) => on_failure.as_ref(),
            StepKind::Fan(fan) => fan.on_failure.as_ref(),
            StepKind::Workflow(child) => child.on_failure.as_ref(),
            _ => None,
        }
    }

    /// The steps of one of its branches, by name or by index.
    #[must_use]
    pub fn block(&self, branch: &str) -> Option<&Block> {
        let StepKind::Fan(fan) = &self.kind else { return None };
        match &fan.source {
            FanSource::Branches(branches) => branches.get(branch),
            FanSource::Items { steps, .. } => is_index(branch).then_some(steps),
        }
    }

    /// Every list of steps in it, with the name of the branch; `*` for the items of a `for_each`.
    pub fn blocks(&self) -> impl Iterator<Item = (&str, &Block)> {
        let source = match &self.kind {
            StepKind::Fan(fan) => Some(&fan.source),
            _ => None,
        };
        let blocks: Vec<(&str, &Block)> = match source {
            None => Vec::new(),
            Some(FanSource::Branches(branches)) => {
                branches.iter().map(|(name, block)| (name.as_str(), block)).collect()
            }
            Some(FanSource::Items { steps, .. }) => vec![(ANY_ITEM, steps)],
        };
        blocks.into_iter()
    }

    /// Whether it does something in the world, by itself or by steps and runs that are its own.
    pub(crate) fn acts(&self) -> bool {
        matches!(self.kind, StepKind::AgentCall(_) | StepKind::Fan(_) | StepKind::Workflow(_))
    }

    /// Whether a branch has this step in it.
    #[must_use]
    pub fn is_inner(&self) -> bool {
        self.path.contains('.')
    }
}
