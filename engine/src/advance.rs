//! The one door to the engine.

use sluice_proto::event::EventBody;

use crate::apply::apply;
use crate::breaker;
use crate::decide::{Input, Refused, Situation, decide};
use crate::effect::{Effect, effects};
use crate::event::NewEvent;
use crate::lesson;
use crate::plan::plan;
use crate::state::State;

/// Events that may follow from one input. A template cannot reach it: the budgets of steps end it first.
const MAX_EVENTS_PER_INPUT: usize = 100_000;

/// What an input led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// The state afterwards.
    pub state: State,
    /// What became true, in order.
    pub events: Vec<NewEvent>,
    /// What the coordinator must do in the same transaction.
    pub effects: Vec<Effect>,
}

/// Decides about `input`, applies what follows and plans on until nothing more follows by itself.
///
/// The state handed in is unchanged; the one handed back is what a replay of all events gives.
///
/// # Errors
/// Says why the input changes nothing.
pub fn advance(
    situation: &Situation<'_>,
    before: &State,
    input: Input,
) -> Result<Advance, Refused> {
    let mut pending = decide(situation, before, input)?;
    let mut asked = breaker::Asked::new(situation, before);
    let mut state = before.clone();
    let mut events = Vec::with_capacity(pending.len() + 2);
    let mut learned = Vec::new();
    loop {
        for event in pending.drain(..) {
            asked.hear(&state, &event);
            learned.extend(lesson::learned(situation, &state, &event));
            apply(&mut state, event.step.as_deref(), &event.body, situation.now);
            events.push(event);
        }
        pending = plan(situation.template, &state, situation.now);
        if pending.is_empty() {
            pending = asked.refusals(&state);
        }
        if pending.is_empty() || events.len() >= MAX_EVENTS_PER_INPUT {
            break;
        }
    }
    let mut effects = effects(situation.template, situation.agents, before, &state);
    effects.extend(released_at_once(before, &events));
    effects.extend(asked.effects(before, &state));
    effects.extend(learned);
    Ok(Advance { state, events, effects })
}

/// Locks that were granted by the input and given up again by what followed: neither of the two
/// states holds them, but by now the run owns their rows.
fn released_at_once(before: &State, events: &[NewEvent]) -> Vec<Effect> {
    let released = events.iter().filter_map(|event| match &event.body {
        EventBody::ReleaseLock(lock) => Some(&lock.resource_lock),
        _ => None,
    });
    let unheld = released.filter(|name| !before.locks.contains_key(*name));
    unheld.map(|name| Effect::ReleaseLock(name.clone())).collect()
}

/// Folds recorded events into a state; the same code as live.
#[must_use]
pub fn replay<'e>(
    start: State,
    events: impl IntoIterator<Item = &'e sluice_proto::event::Event>,
) -> State {
    events.into_iter().fold(start, |mut state, event| {
        if let EventBody::StartWorkflow(_) = &event.body {
            state.parent_workflow_id.clone_from(&event.parent_workflow_id);
        }
        apply(&mut state, event.step_id.as_deref(), &event.body, event.timestamp);
        state
    })
}
