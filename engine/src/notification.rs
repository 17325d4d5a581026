//! What a notification says.

use serde_json::{Map, Value, json};
use sluice_proto::event::Notify;

use crate::path::notification_id;
use crate::scope::RunScope;
use crate::state::{Ending, State};
use crate::template::{Message, Template};

/// Payload of the command that delivers `message`.
pub(crate) fn payload(scope: &RunScope<'_>, message: &Message, trigger: &str) -> Value {
    let data = scope.with(|roots| match &message.payload {
        Some(payload) => payload.render(roots).value,
        None => json!({
            "workflow_id": roots.workflow.get("id"),
            "template_name": roots.workflow.get("name"),
            "status": roots.workflow.get("status"),
            "failed_step": roots.workflow.get("failed_step"),
            "error_message": roots.workflow.get("error_message"),
        }),
    });
    json!({
        "trigger": trigger,
        "channels": message.channels,
        "template": message.template,
        "priority": message.priority,
        "data": data,
    })
}

/// The next delivery that reaching `ending` asks for and that was not asked for yet.
pub(crate) fn next_due(template: &Template, state: &State, ending: &Ending) -> Option<Notify> {
    template.notifications_for(&ending.target).enumerate().find_map(|(index, entry)| {
        let id = notification_id(&ending.target, index, state.retried);
        if state.notifications.contains_key(&id) {
            return None;
        }
        let payload = payload(&RunScope::new(state), &entry.message, &ending.target);
        Some(Notify {
            notification_id: id,
            trigger: ending.target.clone(),
            channels: entry.message.channels.clone(),
            template: entry.message.template.clone(),
            status: "requested".to_owned(),
            payload: payload.as_object().cloned().or_else(|| Some(Map::new())),
            error: None,
        })
    })
}
