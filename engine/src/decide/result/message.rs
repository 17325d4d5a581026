//! A message was delivered, or could not be.

use serde_json::{Map, json};
use sluice_proto::event::{CompleteStep, EventBody, Notify};

use super::Outstanding;
use super::answer::completed;
use crate::decide::Situation;
use crate::event::NewEvent;
use crate::route;
use crate::scope::RunScope;
use crate::state::State;
use crate::template::NotificationStep;

pub(super) fn message_settled(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    message: &NotificationStep,
    status: &str,
    error: Option<String>,
) -> Vec<NewEvent> {
    let notify = Notify {
        notification_id: step.to_owned(),
        trigger: step.to_owned(),
        channels: message.message.channels.clone(),
        template: message.message.template.clone(),
        status: status.to_owned(),
        payload: None,
        error: error.clone(),
    };
    let mut result = Map::from_iter([("status".to_owned(), json!(status))]);
    if let Some(error) = error {
        result.insert("error".to_owned(), json!(error));
    }
    let scope = RunScope::at(situation.template, state, step);
    let next = route::to(situation.template, &scope, step, message.on_complete.as_ref());
    let complete = CompleteStep { result, next, ..CompleteStep::default() };
    vec![NewEvent::of(step, EventBody::Notify(notify)), completed(step, complete)]
}

pub(super) fn delivery_settled(
    state: &State,
    outstanding: &Outstanding<'_>,
    status: &str,
    error: Option<String>,
) -> NewEvent {
    let requested = state.notifications.get(&outstanding.path).map(|delivery| &delivery.request);
    let notify = Notify {
        notification_id: outstanding.path.clone(),
        trigger: requested.map_or_else(|| "approval".to_owned(), |request| request.trigger.clone()),
        channels: requested.map_or_else(|| vec!["log".to_owned()], |r| r.channels.clone()),
        template: requested.and_then(|request| request.template.clone()),
        status: status.to_owned(),
        payload: None,
        error,
    };
    NewEvent::of(&outstanding.path, EventBody::Notify(notify))
}
