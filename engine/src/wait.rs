//! Waits for a moment: how one begins, and how it is over.

use serde_json::{Map, json};
use sluice_proto::event::{CompleteStep, EventBody, StartTimer};
use sluice_proto::timestamp::Timestamp;

use crate::event::NewEvent;
use crate::expr::Missing;
use crate::plan::fail;
use crate::route;
use crate::scope::RunScope;
use crate::state::{Position, State};
use crate::template::{Template, Wait, WaitEnd};

/// Longest wait, milliseconds: somebody must still know by then what it was for.
const MAX_WAIT_MS: u64 = 366 * 24 * 3_600_000;

/// Begins to wait, ends at once when the moment has passed, or fails when there is none.
pub(crate) fn begin(
    template: &Template,
    state: &State,
    path: &str,
    wait: &Wait,
    position: &Position,
    now: Timestamp,
) -> NewEvent {
    let scope = RunScope::at(template, state, path);
    match moment(&scope, wait, now) {
        Ok(until) if until <= now => over(template, state, path, wait, until),
        Ok(until) => NewEvent::of(path, EventBody::StartTimer(StartTimer { until })),
        Err(error) => {
            let next = route::after_failure(template, &scope, path);
            fail(path, "wait_error", error, position.attempt, next)
        }
    }
}

/// The moment has come.
pub(crate) fn over(
    template: &Template,
    state: &State,
    path: &str,
    wait: &Wait,
    until: Timestamp,
) -> NewEvent {
    let scope = RunScope::at(template, state, path);
    let body = CompleteStep {
        result: Map::from_iter([("until".to_owned(), json!(until))]),
        next: route::to(template, &scope, path, wait.on_success.as_ref()),
        ..CompleteStep::default()
    };
    NewEvent::of(path, EventBody::CompleteStep(body))
}

fn moment(scope: &RunScope<'_>, wait: &Wait, now: Timestamp) -> Result<Timestamp, String> {
    let text = match &wait.end {
        WaitEnd::After(ms) => return Ok(now.plus_ms(*ms)),
        WaitEnd::At(text) => scope.with(|roots| text.render(roots, Missing::Empty)),
    };
    let until = Timestamp::parse(text.trim()).map_err(|error| format!("'until': {error}"))?;
    if until > now.plus_ms(MAX_WAIT_MS) {
        return Err(format!("'until' is {until}, more than 366 days away"));
    }
    Ok(until)
}
