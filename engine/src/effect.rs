//! The difference between what two states want to be outstanding.
//!
//! Effects are never remembered: they follow from the state. So a crash between a commit and its
//! effects loses nothing, and a watchdog can compare what should be outstanding with what is.

use std::collections::HashSet;

use serde_json::{Map, Value};
use sluice_proto::agents::AgentCatalogue;
use sluice_proto::ids::AgentName;

use crate::breaker::BreakerChange;
use crate::child;
use crate::lesson::LessonChange;
use crate::state::State;
use crate::template::Template;
use crate::wish::{
    AttemptDraft, WishedAttempt, WishedChild, WishedLock, WishedTimer, draft, wishes,
};

/// What the coordinator must do in the same transaction as the events.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write the attempt's row; its command is dispatched when due.
    CreateAttempt(Box<AttemptDraft>),
    /// Delete the attempt's row; a worker that holds it is told.
    DropAttempt(WishedAttempt),
    /// Take the lock if it is free and nobody queues, else queue for it.
    RequestLock(WishedLock),
    /// Leave the queue.
    WithdrawLockRequest(WishedLock),
    /// Give the lock to the next in the queue.
    ReleaseLock(String),
    /// Show people what waits for them.
    OpenApproval(String),
    /// It no longer waits.
    CloseApproval(String),
    /// Change the circuit breaker of this step of the template.
    ChangeBreaker {
        /// The step.
        step: String,
        /// What becomes of it.
        change: BreakerChange,
    },
    /// Remember what became of a failure of this signature.
    Learn {
        /// Whose failure.
        agent: AgentName,
        /// Names failures that are alike.
        signature: String,
        /// What became of it.
        change: LessonChange,
    },
    /// Wake the run at that moment.
    StartTimer(WishedTimer),
    /// It waits for that moment no longer.
    StopTimer(WishedTimer),
    /// Start the child, and wait for its end.
    StartChild {
        /// Which.
        wish: WishedChild,
        /// What it reads as `context`, or why there is none.
        context: Result<Map<String, Value>, String>,
    },
    /// It waits for the child no longer; one that has not ended is cancelled.
    LeaveChild(WishedChild),
}

/// What leads from the wishes of `before` to those of `after`.
#[must_use]
pub fn effects(
    template: &Template,
    agents: &AgentCatalogue,
    before: &State,
    after: &State,
) -> Vec<Effect> {
    let old = wishes(template, before);
    let new = wishes(template, after);
    let mut effects = Vec::new();
    let old_attempts: HashSet<_> = old.attempts.iter().map(WishedAttempt::key).collect();
    let new_attempts: HashSet<_> = new.attempts.iter().map(WishedAttempt::key).collect();
    for attempt in &old.attempts {
        if !new_attempts.contains(&attempt.key()) {
            effects.push(Effect::DropAttempt(attempt.clone()));
        }
    }
    let old_locks: HashSet<_> = old.locks.iter().map(WishedLock::key).collect();
    let new_locks: HashSet<_> = new.locks.iter().map(WishedLock::key).collect();
    for lock in &old.locks {
        let granted = after.locks.get(&lock.name).is_some_and(|held| held.step == lock.step);
        if !granted && !new_locks.contains(&lock.key()) {
            effects.push(Effect::WithdrawLockRequest(lock.clone()));
        }
    }
    for name in before.locks.keys().filter(|name| !after.locks.contains_key(*name)) {
        effects.push(Effect::ReleaseLock(name.clone()));
    }
    let new_approvals: HashSet<&String> = new.approvals.iter().collect();
    for id in old.approvals.iter().filter(|id| !new_approvals.contains(id)) {
        effects.push(Effect::CloseApproval(id.clone()));
    }
    let old_timers: HashSet<&WishedTimer> = old.timers.iter().collect();
    let new_timers: HashSet<&WishedTimer> = new.timers.iter().collect();
    for timer in old.timers.iter().filter(|timer| !new_timers.contains(timer)) {
        effects.push(Effect::StopTimer(timer.clone()));
    }
    let left = |child: &&WishedChild| !new.children.contains(child);
    effects.extend(old.children.iter().filter(left).cloned().map(Effect::LeaveChild));
    for attempt in &new.attempts {
        if !old_attempts.contains(&attempt.key()) {
            let draft = draft(template, agents, after, attempt.clone());
            effects.push(Effect::CreateAttempt(Box::new(draft)));
        }
    }
    for lock in &new.locks {
        if !old_locks.contains(&lock.key()) {
            effects.push(Effect::RequestLock(lock.clone()));
        }
    }
    let old_approvals: HashSet<&String> = old.approvals.iter().collect();
    for id in new.approvals.iter().filter(|id| !old_approvals.contains(id)) {
        effects.push(Effect::OpenApproval(id.clone()));
    }
    for timer in new.timers.iter().filter(|timer| !old_timers.contains(timer)) {
        effects.push(Effect::StartTimer(timer.clone()));
    }
    for wish in new.children.into_iter().filter(|child| !old.children.contains(child)) {
        let context = child::context(template, after, &wish.step);
        effects.push(Effect::StartChild { wish, context });
    }
    effects
}
