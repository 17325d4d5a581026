//! A run took too long.

use sluice_proto::event::{EventBody, ExpireWorkflow, Status};
use sluice_proto::timestamp::Timestamp;

use super::{Refused, Situation};
use crate::event::NewEvent;
use crate::route;
use crate::state::State;
use crate::view::current_step;

/// Its deadline has come.
pub(super) fn deadline(
    situation: &Situation<'_>,
    state: &State,
    round: u32,
) -> Result<Vec<NewEvent>, Refused> {
    let due = state.deadline_at.filter(|at| *at <= situation.now && round == state.retried + 1);
    let open = !state.status.is_terminal();
    let Some(deadline) = due.filter(|_| open) else { return Err(Refused::NotWaitingForTimer) };
    let error = format!("the run was not over by its deadline, {deadline}");
    Ok(vec![expire(situation, state, "deadline_exceeded", error)])
}

/// Nothing has happened to it for so long that nobody can be at work on it.
pub(super) fn abandoned(
    situation: &Situation<'_>,
    state: &State,
    untouched_since: Timestamp,
) -> Result<Vec<NewEvent>, Refused> {
    let abandoned = state.status == Status::Running && state.updated_at <= untouched_since;
    if !abandoned || state.cancellation.is_some() {
        return Err(Refused::NotWaitingForTimer);
    }
    let error = format!("nothing has happened to the run since {}", state.updated_at);
    Ok(vec![expire(situation, state, "expired", error)])
}

fn expire(situation: &Situation<'_>, state: &State, reason: &str, error: String) -> NewEvent {
    let next = route::plain_failure(situation.template, "");
    let body = ExpireWorkflow { reason: reason.to_owned(), error, next };
    let step = current_step(situation.template, state);
    NewEvent { step, body: EventBody::ExpireWorkflow(body) }
}
