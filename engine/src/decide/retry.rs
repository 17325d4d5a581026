//! Somebody has a failed run go on from one of its steps.

use sluice_proto::event::{EventBody, RetryCommand, RetryStep, Status};

use super::{Refused, Situation};
use crate::backoff;
use crate::event::NewEvent;
use crate::route;
use crate::state::State;

/// Retries of one step that a person may ask for, whatever limit they name.
pub const MAX_COMMANDED_RETRIES: u32 = 10;

/// A person's wish that a failed run goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Step to go on from.
    pub step: String,
    /// Their own limit.
    pub max_retries: u32,
    /// Who.
    pub requested_by: String,
}

pub(super) fn decide(
    situation: &Situation<'_>,
    state: &State,
    retry: Retry,
) -> Result<Vec<NewEvent>, Refused> {
    let Retry { step, max_retries, requested_by } = retry;
    match situation.template.step(&step) {
        None => return Err(Refused::UnknownStep(step)),
        Some(found) if found.is_inner() => return Err(Refused::InnerStep(step)),
        Some(_) => {}
    }
    if state.status != Status::Failed {
        return Err(Refused::NotFailed(state.status));
    }
    let Some(record) = state.steps.get(&step) else { return Err(Refused::StepNotReached(step)) };
    let (used, limit) = (record.commanded_retries, max_retries.min(MAX_COMMANDED_RETRIES));
    if used >= limit {
        return Err(Refused::RetriesUsedUp { step, used, limit });
    }
    let nominal_ms = backoff::nominal_ms(used + 1);
    let wait_ms = backoff::jittered_ms(nominal_ms, situation.jitter);
    let mut rewound = state.clone();
    rewound.rewind_to(&step);
    let deadline_at = situation.template.deadline_ms.map(|ms| situation.now.plus_ms(ms));
    let command = RetryCommand {
        deadline_at,
        requested_by,
        next_lock: route::lock_again(situation.template, &rewound, &step),
    };
    let body = RetryStep {
        recovery: None,
        retry_attempt: used + 1,
        max_retries: limit,
        backoff_delay: backoff::seconds(nominal_ms),
        next_retry_at: situation.now.plus_ms(wait_ms),
        command: Some(command),
    };
    Ok(vec![NewEvent::of(&step, EventBody::RetryStep(body))])
}
