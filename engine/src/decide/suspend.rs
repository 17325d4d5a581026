//! An operator holds a run up, or has it go on.

use sluice_proto::event::{ContinueWorkflow, EventBody, SuspendWorkflow};

use super::{Refused, Situation};
use crate::event::NewEvent;
use crate::state::State;
use crate::view::current_step;
use crate::wish::wishes;

/// An operator's wish that nothing new begins in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspend {
    /// In their words.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// Attempts that are due this soon may have been published by a coordinator whose clock is ahead,
/// milliseconds.
const MAYBE_DUE_MS: u64 = 5_000;

pub(super) fn suspend(
    situation: &Situation<'_>,
    state: &State,
    suspend: Suspend,
) -> Result<Vec<NewEvent>, Refused> {
    if state.sequence == 0 {
        return Err(Refused::NotOutstanding);
    }
    if state.status.is_terminal() {
        return Err(Refused::EndedBefore(state.status));
    }
    if let Some(suspension) = &state.suspension {
        return Err(Refused::AlreadySuspended(suspension.by.clone()));
    }
    let wishes = wishes(situation.template, state);
    let soon = situation.now.plus_ms(MAYBE_DUE_MS);
    let attempts = wishes.attempts.iter().filter(|wish| wish.due_at.is_none_or(|at| at <= soon));
    let attempts = attempts.map(|wish| wish.name());
    let in_flight = attempts.chain(wishes.locks.iter().map(|wish| wish.name_in_queue())).collect();
    let body = SuspendWorkflow { reason: suspend.reason, suspended_by: suspend.by, in_flight };
    let step = current_step(situation.template, state);
    Ok(vec![NewEvent { step, body: EventBody::SuspendWorkflow(body) }])
}

pub(super) fn go_on(state: &State, by: String) -> Result<Vec<NewEvent>, Refused> {
    if state.suspension.is_none() {
        return Err(Refused::NotSuspended);
    }
    let body = EventBody::ContinueWorkflow(ContinueWorkflow { continued_by: by });
    Ok(vec![NewEvent { step: None, body }])
}
