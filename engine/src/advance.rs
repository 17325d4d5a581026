//! The one door to the engine.

use sluice_proto::event::EventBody;

use crate::apply::apply;
use crate::decide::{Input, Refused, Situation, decide};
use crate::event::NewEvent;
use crate::plan::plan;
use crate::state::State;
use crate::wish::{Effect, effects};

/// Events that may follow from one input. A template cannot reach it: the loop budget ends it first.
const MAX_EVENTS_PER_INPUT: usize = 2_000;

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
    let mut state = before.clone();
    let mut events = Vec::with_capacity(pending.len() + 2);
    loop {
        for event in pending.drain(..) {
            apply(&mut state, event.step.as_deref(), &event.body, situation.now);
            events.push(event);
        }
        match plan(situation.template, &state, situation.now) {
            Some(event) if events.len() < MAX_EVENTS_PER_INPUT => pending.push(event),
            _ => break,
        }
    }
    let effects = effects(situation.template, situation.agents, before, &state);
    Ok(Advance { state, events, effects })
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
