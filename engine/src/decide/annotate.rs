//! Somebody writes something down about a run, whatever has become of it.

use sluice_proto::event::{Annotate, EventBody};

use super::Refused;
use crate::event::NewEvent;
use crate::state::State;

pub(super) fn decide(state: &State, note: Annotate) -> Result<Vec<NewEvent>, Refused> {
    if state.sequence == 0 {
        return Err(Refused::NotOutstanding);
    }
    Ok(vec![NewEvent { step: None, body: EventBody::Annotate(note) }])
}
