//! The AsyncAPI 3.0 document: what travels on which subject.

use serde_json::{Map, Value, json};
use sluice_proto::api::verb;

use super::Entry;

/// Which role of ours sends; the other side may be anybody's program.
const STREAMS: [Channel; 11] = [
    Channel {
        name: "step",
        address: "sluice.step.{agent}",
        about: "Step commands. JetStream work queue SLUICE_STEPS, durable pull consumer <agent>.",
        message: "command",
        reply: None,
        action: "send",
    },
    Channel {
        name: "stepUrgent",
        address: "sluice.step.{agent}.urgent",
        about: "Step commands of urgent runs, consumer <agent>-urgent; workers ask here first.",
        message: "command",
        reply: None,
        action: "send",
    },
    Channel {
        name: "claim",
        address: "sluice.claim.{agent}.{workflow_id}",
        about: "A worker takes the fence of an attempt before it touches the world.",
        message: "claim",
        reply: Some("claim_reply"),
        action: "receive",
    },
    Channel {
        name: "heartbeat",
        address: "sluice.heartbeat.{agent}.{workflow_id}",
        about: "Extends the lease of an attempt and shows progress.",
        message: "heartbeat",
        reply: None,
        action: "receive",
    },
    Channel {
        name: "result",
        address: "sluice.result.{agent}.{workflow_id}",
        about: "How an attempt ended. Acknowledge the command only after the reply; without one, ask again.",
        message: "step_result",
        reply: Some("result_reply"),
        action: "receive",
    },
    Channel {
        name: "cancel",
        address: "sluice.cancel.{agent}.{workflow_id}",
        about: "Tells the worker that holds an attempt to stop.",
        message: "cancel_notice",
        reply: None,
        action: "send",
    },
    Channel {
        name: "workerAnnounce",
        address: "sluice.worker.announce",
        about: "A worker says that it is there: when it starts, within every lease, and when it leaves. Optional: without it only leases tell that a worker is gone.",
        message: "announcement",
        reply: Some("announcement_reply"),
        action: "receive",
    },
    Channel {
        name: "workerAsk",
        address: "sluice.worker.ask.{worker_id}",
        about: "Asks a worker that announced itself whether it is alive.",
        message: "presence_question",
        reply: Some("presence"),
        action: "send",
    },
    Channel {
        name: "workerBury",
        address: "sluice.worker.bury",
        about: "A worker hands over a command that nobody can process; it becomes a dead letter.",
        message: "burial",
        reply: Some("result_reply"),
        action: "receive",
    },
    Channel {
        name: "workerCall",
        address: "sluice.worker.call",
        about: "Asks every worker for a heartbeat of each attempt it holds of these agents, at once: what was delivered and not heard of is dispatched again.",
        message: "roll_call",
        reply: None,
        action: "send",
    },
    Channel {
        name: "event",
        address: "sluice.event.{slug}.{workflow_id}.{action}",
        about: "Every committed event, JetStream stream SLUICE_EVENTS. A feed, never the truth.",
        message: "event",
        reply: None,
        action: "send",
    },
];

/// Verb, request and reply; an entry's name or none where the body is empty or plain text.
const API: &[(&str, Option<&str>, Option<&str>)] = &[
    (verb::WORKFLOW_EXECUTE, Some("execute_request"), Some("execute_response")),
    (verb::WORKFLOW_STATUS, Some("workflow_request"), Some("status_response")),
    (verb::WORKFLOW_STATE, Some("workflow_request"), Some("state_response")),
    (verb::WORKFLOW_EVENTS, Some("events_request"), Some("events_response")),
    (verb::WORKFLOW_LIST, Some("list_request"), Some("list_response")),
    (verb::WORKFLOW_RESUME, Some("resume_request"), Some("resume_response")),
    (verb::BREAKER_LIST, None, Some("breakers_response")),
    (verb::WORKFLOW_PAUSE, Some("pause_request"), Some("status_response")),
    (verb::WORKFLOW_UNPAUSE, Some("unpause_request"), Some("status_response")),
    (verb::WORKFLOW_VERIFY, Some("workflow_request"), Some("verify_response")),
    (verb::WORKFLOW_REPLAY, Some("workflow_request"), Some("replay_response")),
    (verb::WORKFLOW_STATE_AT, Some("state_at_request"), Some("state_at_response")),
    (verb::WORKFLOW_DIFF, Some("diff_request"), Some("diff_response")),
    (verb::WORKFLOW_SNAPSHOTS, Some("workflow_request"), Some("snapshots_response")),
    (verb::WORKFLOW_ANNOTATE, Some("annotate_request"), Some("annotate_response")),
    (verb::WORKFLOW_ARCHIVE, Some("archive_request"), Some("archive_response")),
    (verb::WORKFLOW_ENDED, Some("ended_request"), Some("ended_response")),
    (verb::WORKFLOW_CANCEL, Some("cancel_request"), Some("cancel_response")),
    (verb::WORKFLOW_RETRY, Some("retry_request"), Some("retry_response")),
    (verb::TEMPLATE_LIST, None, Some("templates_response")),
    (verb::TEMPLATE_VALIDATE, Some("validate_request"), Some("validate_response")),
    (verb::SYSTEM_HEALTH, None, Some("health_response")),
    (verb::SYSTEM_METRICS, None, None),
    (verb::DEAD_LETTER_DROP, Some("dead_letter_act_request"), Some("dead_letter_view")),
    (verb::DEAD_LETTER_LIST, Some("dead_letters_request"), Some("dead_letters_response")),
    (verb::DEAD_LETTER_REDRIVE, Some("dead_letter_act_request"), Some("dead_letter_view")),
    (verb::DEAD_LETTER_SHOW, Some("dead_letter_request"), Some("dead_letter_view")),
    (verb::LOCK_LIST, None, Some("locks_response")),
    (verb::LOCK_RELEASE, Some("release_lock_request"), Some("release_lock_response")),
    (verb::WORKFLOW_WHY, Some("workflow_request"), Some("why_response")),
    (verb::WORKER_LIST, None, Some("workers_response")),
];

struct Channel {
    name: &'static str,
    address: &'static str,
    about: &'static str,
    message: &'static str,
    reply: Option<&'static str>,
    action: &'static str,
}

/// The whole document. Every entry is a message of it.
pub(crate) fn document(entries: &[Entry]) -> Value {
    let mut document = Document::default();
    for channel in &STREAMS {
        document.stream(channel);
    }
    for (verb, request, reply) in API.iter().copied() {
        document.verb(verb, request, reply);
    }
    let mut messages: Map<String, Value> =
        entries.iter().map(|entry| (entry.name.to_owned(), message(entry))).collect();
    messages.insert("empty".into(), json!({"summary": "No body.", "payload": {}}));
    messages.insert(
        "prometheus_text".into(),
        json!({"contentType": "text/plain", "payload": {"type": "string"}}),
    );
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sluice",
            "version": "1",
            "description": "What travels between coordinators, workers, gateways and others over NATS. \
                The first token of every subject is configurable.",
        },
        "defaultContentType": "application/json",
        "channels": document.channels,
        "operations": document.operations,
        "components": {"messages": messages},
    })
}

fn message(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-07",
            "schema": {"$ref": format!("schemas/{}.json", entry.name)},
        },
    })
}

#[derive(Default)]
struct Document {
    channels: Map<String, Value>,
    operations: Map<String, Value>,
}

impl Document {
    fn stream(&mut self, channel: &Channel) {
        let names = std::iter::once(channel.message).chain(channel.reply);
        self.channels
            .insert(channel.name.into(), channel_object(channel.address, channel.about, names));
        let mut operation = operation(channel.action, channel.name, channel.message);
        if let Some(reply) = channel.reply {
            operation["reply"] = reply_object(channel.name, reply);
        }
        self.operations.insert(channel.name.into(), operation);
    }

    fn verb(&mut self, verb: &str, request: Option<&str>, reply: Option<&str>) {
        let (request, reply) = (request.unwrap_or("empty"), reply.unwrap_or("prometheus_text"));
        let name = format!("api.{verb}");
        let about = format!("The API verb {verb}. A failure carries api_error as its body.");
        let address = format!("sluice.api.v1.{verb}");
        self.channels
            .insert(name.clone(), channel_object(&address, &about, [request, reply, "api_error"]));
        let mut asked = operation("receive", &name, request);
        asked["reply"] = reply_object(&name, reply);
        if let Some(messages) = asked["reply"]["messages"].as_array_mut() {
            messages.push(message_in(&name, "api_error"));
        }
        self.operations.insert(name, asked);
        if verb::MUTATING.contains(&verb) {
            self.command(verb, request);
        }
    }

    fn command(&mut self, verb: &str, request: &str) {
        let name = format!("command.{verb}");
        let about = format!(
            "The verb {verb}, fire and forget: taken while no coordinator runs. JetStream work queue SLUICE_COMMANDS."
        );
        let address = format!("sluice.command.v1.{verb}");
        self.channels.insert(name.clone(), channel_object(&address, &about, [request]));
        self.operations.insert(name.clone(), operation("receive", &name, request));
    }
}

fn channel_object<'a>(
    address: &str,
    about: &str,
    messages: impl IntoIterator<Item = &'a str>,
) -> Value {
    let messages: Map<String, Value> = messages
        .into_iter()
        .map(|name| (name.to_owned(), json!({"$ref": format!("#/components/messages/{name}")})))
        .collect();
    let mut channel = json!({"address": address, "description": about, "messages": messages});
    let parameters: Map<String, Value> = address
        .split('.')
        .filter_map(|token| token.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| (name.to_owned(), json!({})))
        .collect();
    if !parameters.is_empty() {
        channel["parameters"] = parameters.into();
    }
    channel
}

fn operation(action: &str, channel: &str, message: &str) -> Value {
    json!({
        "action": action,
        "channel": {"$ref": channel_pointer(channel)},
        "messages": [message_in(channel, message)],
    })
}

fn reply_object(channel: &str, message: &str) -> Value {
    json!({
        "address": {"location": "$message.header#/replyTo", "description": "The NATS reply subject."},
        "messages": [message_in(channel, message)],
    })
}

fn message_in(channel: &str, message: &str) -> Value {
    json!({"$ref": format!("{}/messages/{message}", channel_pointer(channel))})
}

fn channel_pointer(channel: &str) -> String {
    format!("#/channels/{channel}")
}
