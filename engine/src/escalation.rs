//! Telling people of a failure, once a run.

use serde_json::{Map, json};
use sluice_proto::event::{Escalate, EventBody};

use crate::event::NewEvent;
use crate::path::escalation_id;
use crate::route;
use crate::state::{Failure, State};
use crate::template::{Message, Template};

/// Where it is told when the template does not say.
const LOG: &str = "log";
/// Where people work on it.
const ISSUES: &str = "linear";
/// The entry of an escalation path that means a person.
const PERSON: &str = "hitl";

/// The escalation that the last failure of the run asks for, unless there was one.
pub(crate) fn due(template: &Template, state: &State) -> Option<NewEvent> {
    let failure = state.last_failure.as_ref().filter(|_| state.escalation.is_none())?;
    let reason = reason(template, failure)?;
    let path = template.error_handling_of(&failure.step).map(|entry| entry.escalation_path.clone());
    let escalation_path = path.unwrap_or_default();
    let declared = template.error_recovery.escalation.as_ref();
    let mut channels = declared.map(|block| block.notify_channels.clone()).unwrap_or_default();
    let wants_issue = declared.is_some_and(|block| block.create_linear_issue)
        || escalation_path.iter().any(|who| who == PERSON);
    if wants_issue && !channels.iter().any(|channel| channel == ISSUES) {
        channels.push(ISSUES.to_owned());
    }
    if channels.is_empty() {
        channels.push(LOG.to_owned());
    }
    let declared_priority = declared.and_then(|block| block.priority.clone());
    let priority = match reason {
        "rollback_failed" => "critical".to_owned(),
        _ => declared_priority.unwrap_or_else(|| "urgent".to_owned()),
    };
    let body = Escalate {
        issue: None,
        reason: reason.to_owned(),
        error: failure.error.clone(),
        error_type: failure.error_type.clone(),
        notification_id: escalation_id(&failure.step),
        payload: payload(
            template,
            state,
            failure,
            &priority,
            &channels,
            &escalation_path,
            wants_issue,
        ),
        priority,
        escalation_path,
        channels,
    };
    Some(NewEvent::of(&failure.step, EventBody::Escalate(body)))
}

fn reason(template: &Template, failure: &Failure) -> Option<&'static str> {
    let step = failure.step.as_str();
    if route::is_rollback(template, step) {
        return Some("rollback_failed");
    }
    if failure.error_type == "circuit_open" {
        return Some("circuit_open");
    }
    let declared = template.error_recovery.escalation.as_ref();
    if declared.is_some_and(|block| block.on_any_failure) {
        return Some("any_failure");
    }
    if template.error_handling_of(step).is_some_and(|entry| !entry.escalation_path.is_empty()) {
        return Some("exhausted");
    }
    (template.retry_limits(step, false).tier >= 4).then_some("tier_4")
}

fn payload(
    template: &Template,
    state: &State,
    failure: &Failure,
    priority: &str,
    channels: &[String],
    path: &[String],
    wants_issue: bool,
) -> Map<String, serde_json::Value> {
    let message = json!({
        "trigger": "escalation",
        "channels": channels,
        "template": "workflow_error",
        "priority": Message::known_priority(priority),
        "create_issue": wants_issue,
        "data": {
            "title": format!("[Workflow Error] {} - Step '{}' failed", template.name, failure.step),
            "labels": ["workflow-error", "auto-escalated"],
            "workflow_id": state.workflow_id,
            "template_name": state.template_name,
            "step_id": failure.step,
            "error": failure.error,
            "error_type": failure.error_type,
            "escalation_path": path,
        },
    });
    message.as_object().cloned().unwrap_or_default()
}
