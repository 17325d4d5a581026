//! The moment that a step waits for has come.

use super::{Refused, Situation};
use crate::event::NewEvent;
use crate::state::{Phase, State};
use crate::template::StepKind;
use crate::wait;

pub(super) fn due(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    visit: u32,
) -> Result<Vec<NewEvent>, Refused> {
    let position = state.active.get(step).filter(|position| position.visit == visit);
    let Some(Phase::Timer { until }) = position.map(|position| &position.phase) else {
        return Err(Refused::NotWaitingForTimer);
    };
    let kind = situation.template.step(step).map(|step| &step.kind);
    let Some(StepKind::Wait(own)) = kind else { return Err(Refused::NotWaitingForTimer) };
    // Sweepers may have clocks of their own; the one that decides has to agree.
    if situation.now < *until {
        return Err(Refused::NotWaitingForTimer);
    }
    Ok(vec![wait::over(situation.template, state, step, own, *until)])
}
