//! `notifications:` and the message of `notification` steps.

use crate::template::context::Context;
use crate::template::fields::Fields;
use crate::template::finding::{Severity, nearest, quoted};
use crate::template::keys::{self, MESSAGE_PRIORITIES};
use crate::template::model::{Message, Notification};

const DEFAULT_PRIORITY: &str = "normal";
const DEFAULT_CHANNEL: &str = "log";

pub(super) fn notifications(cx: &mut Context<'_>, fields: &Fields<'_>) -> Vec<Notification> {
    let mut notifications = Vec::new();
    for item in fields.list(cx, "notifications") {
        let Some(fields) = Fields::open(cx, item, &keys::NOTIFICATION, "a notification") else {
            continue;
        };
        fields.review(cx, None);
        let trigger = fields.text(cx, "trigger");
        let message = message(cx, &fields);
        if let Some(trigger) = trigger {
            notifications.push(Notification { trigger: trigger.to_owned(), message });
        }
    }
    notifications
}

pub(super) fn message(cx: &mut Context<'_>, fields: &Fields<'_>) -> Message {
    let mut channels = fields.channels(cx, "channels");
    if channels.is_empty() && (!fields.has("channels") || fields.is_list("channels")) {
        cx.findings.warning(fields.at, "without 'channels' the message only goes to the log");
        channels.push(DEFAULT_CHANNEL.to_owned());
    }
    Message {
        channels,
        template: fields.text(cx, "template").map(str::to_owned),
        priority: priority(cx, fields),
        payload: fields.payload(cx, "payload"),
    }
}

/// An unknown word must not keep a message from being sent.
fn priority(cx: &mut Context<'_>, fields: &Fields<'_>) -> String {
    let Some(text) = fields.text(cx, "priority") else { return DEFAULT_PRIORITY.to_owned() };
    let word = text.trim().to_ascii_lowercase();
    if MESSAGE_PRIORITIES.contains(&word.as_str()) {
        return word;
    }
    let message = format!("unknown priority {} is taken for '{DEFAULT_PRIORITY}'", quoted(text));
    let near = nearest(&word, MESSAGE_PRIORITIES.iter().copied());
    cx.findings.push(Severity::Warning, fields.value_at("priority"), message, near);
    DEFAULT_PRIORITY.to_owned()
}
