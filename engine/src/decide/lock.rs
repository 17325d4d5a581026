//! What the lock table says about a lock that a run asked for.

use sluice_proto::event::{AcquireLock, EventBody, ForcedRelease, ReleaseLock, WaitLock};
use sluice_proto::ids::WorkflowId;
use sluice_proto::message::AgentError;

use super::result::{Outstanding, fail_or_retry};
use super::{Refused, Situation};
use crate::event::NewEvent;
use crate::plan::fail;
use crate::route;
use crate::scope::RunScope;
use crate::state::{Phase, Position, State};
use crate::wish::wishes;

pub(super) fn granted(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    name: &str,
    fencing_number: u64,
) -> Result<Vec<NewEvent>, Refused> {
    let position = waiting(state, step, name)?;
    let since = match position.phase {
        Phase::Queued { since } => since,
        _ => situation.now,
    };
    let body = AcquireLock {
        resource_lock: name.to_owned(),
        wait_ms: situation.now.ms_since(since),
        fencing_number,
    };
    Ok(vec![NewEvent::of(step, EventBody::AcquireLock(body))])
}

pub(super) fn queued(
    state: &State,
    step: &str,
    name: &str,
    holder: Option<WorkflowId>,
) -> Result<Vec<NewEvent>, Refused> {
    match waiting(state, step, name)?.phase {
        // The queue is asked again after a crash; the wait was recorded then.
        Phase::Queued { .. } => Ok(Vec::new()),
        _ => {
            let body = WaitLock { resource_lock: name.to_owned(), holder };
            Ok(vec![NewEvent::of(step, EventBody::WaitLock(body))])
        }
    }
}

pub(super) fn timed_out(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    name: &str,
) -> Result<Vec<NewEvent>, Refused> {
    let position = waiting(state, step, name)?;
    // Two sweeps may find the same wait; after the first one a new wait has begun.
    let locks = wishes(situation.template, state).locks;
    let wait_until = locks.iter().find(|lock| lock.step == step).and_then(|lock| lock.wait_until);
    if wait_until.is_none_or(|until| situation.now < until) {
        return Err(Refused::NotWaitingForLock);
    }
    let error = AgentError {
        code: "lock_timeout".to_owned(),
        message: format!("lock '{name}' was not free in time"),
        retryable: Some(true),
        retry_after_ms: None,
    };
    let outstanding = Outstanding::own(situation, step, position.attempt);
    Ok(fail_or_retry(situation, state, &outstanding, &error))
}

/// The wait is not begun: the step fails, and is not tried again by itself, since only the others of the
/// circle can end it.
pub(super) fn refused(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    name: &str,
    circle: &[String],
) -> Result<Vec<NewEvent>, Refused> {
    let position = waiting(state, step, name)?;
    let error = AgentError {
        code: "lock_deadlock".to_owned(),
        message: format!(
            "waiting for lock '{name}' would never end: these runs wait for each other: {}, {}",
            circle.join(", "),
            state.workflow_id
        ),
        retryable: Some(false),
        retry_after_ms: None,
    };
    let outstanding = Outstanding::own(situation, step, position.attempt);
    Ok(fail_or_retry(situation, state, &outstanding, &error))
}

/// The lock goes. A step whose work is under way under it fails, since others may be at what it protects
/// from now on; a later step that needs the lock asks for it anew.
pub(super) fn revoked(
    situation: &Situation<'_>,
    state: &State,
    name: &str,
    forced: ForcedRelease,
) -> Result<Vec<NewEvent>, Refused> {
    let held = state.locks.get(name).ok_or(Refused::NotHoldingLock)?;
    let error = AgentError {
        code: "lock_lost".to_owned(),
        message: format!(
            "lock '{name}' was taken from the run by {}: {}",
            forced.released_by, forced.reason
        ),
        // As for any other failure of unknown outcome: only what may be called again is.
        retryable: None,
        retry_after_ms: None,
    };
    let body = ReleaseLock {
        resource_lock: name.to_owned(),
        held_ms: situation.now.ms_since(held.since),
        forced: Some(forced),
    };
    let mut events = vec![NewEvent::of(&held.step, EventBody::ReleaseLock(body))];
    for (path, position) in &state.active {
        // Other branches may be waiting for the same lock: they have lost nothing.
        let held_here = position.lock.as_deref() == Some(name) && state.has_lock(path, position);
        if held_here && matches!(position.phase, Phase::Branches | Phase::Child { .. }) {
            let scope = RunScope::at(situation.template, state, path);
            let next = route::after_failure(situation.template, &scope, path);
            let (code, message) = (error.code.as_str(), error.message.clone());
            events.push(fail(path, code, message, position.attempt, next));
        } else if held_here && matches!(position.phase, Phase::Ready | Phase::Queued { .. }) {
            let outstanding = Outstanding::own(situation, path, position.attempt);
            events.extend(fail_or_retry(situation, state, &outstanding, &error));
        }
    }
    Ok(events)
}

fn waiting<'a>(state: &'a State, step: &str, name: &str) -> Result<&'a Position, Refused> {
    state
        .active
        .get(step)
        .filter(|position| matches!(position.phase, Phase::Ready | Phase::Queued { .. }))
        .filter(|position| {
            position.lock.as_deref() == Some(name) && !state.has_lock(step, position)
        })
        .ok_or(Refused::NotWaitingForLock)
}
