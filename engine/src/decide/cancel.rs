//! Somebody ends the run.

use sluice_proto::event::{CancelWorkflow, EventBody, Next, Outcome};

use super::{Refused, Situation};
use crate::event::NewEvent;
use crate::route;
use crate::scope::RunScope;
use crate::state::State;
use crate::template::{Target, Template};
use crate::view::current_step;

/// A person's wish that a run ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cancel {
    /// In their words.
    pub reason: String,
    /// Who.
    pub cancelled_by: String,
    /// At once, without what the template does on a cancellation.
    pub force: bool,
}

pub(super) fn decide(
    situation: &Situation<'_>,
    state: &State,
    cancel: Cancel,
) -> Result<Vec<NewEvent>, Refused> {
    if state.sequence == 0 {
        return Err(Refused::NotOutstanding);
    }
    if state.status.is_terminal() {
        return Err(Refused::Ended(state.status));
    }
    // A request that is repeated must not break off what the first one has begun.
    if state.cancellation.is_some() && !cancel.force {
        return Err(Refused::BeingCancelled);
    }
    let template = situation.template;
    let target = target(template);
    let next = match &template.on_cancel {
        Some(step @ Target::Step(_)) if !cancel.force => {
            route::to(template, &RunScope::new(state), "", Some(step))
        }
        _ => Next {
            next_step: Some(target.clone()),
            next_lock: None,
            outcome: Some(Outcome::Cancelled),
        },
    };
    let body =
        CancelWorkflow { reason: cancel.reason, cancelled_by: cancel.cancelled_by, target, next };
    let step = current_step(template, state);
    Ok(vec![NewEvent { step, body: EventBody::CancelWorkflow(body) }])
}

/// Whose messages a cancellation sends: what the template says, else those of a failure.
fn target(template: &Template) -> String {
    if let Some(Target::End(end)) = &template.on_cancel {
        return end.name.clone();
    }
    let has = |trigger: &&str| template.notifications_for(trigger).next().is_some();
    let triggers = ["workflow_cancelled", "workflow_failed", "notify_failure"];
    triggers.into_iter().find(has).unwrap_or("workflow_cancelled").to_owned()
}
