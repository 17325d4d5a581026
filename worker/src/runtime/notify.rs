//! Tells people: approvals that wait for them, messages of a run.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sluice_proto::message::CommandKind;

use super::{Job, Outcome, Runtime, failure};
use crate::channel;

pub(crate) struct NotifyRuntime;

impl Runtime for NotifyRuntime {
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Outcome> {
        async move { deliver(&job) }.boxed()
    }
}

fn deliver(job: &Job) -> Outcome {
    if !matches!(job.command.kind, CommandKind::ApprovalRequest | CommandKind::Notification) {
        let kind = job.command.kind.as_str();
        return failure(
            "unsupported",
            false,
            format!("nothing is delivered for a command of kind {kind}"),
        )
        .into();
    }
    // Every message reaches the log, also one whose channels are not there: a notification that goes
    // nowhere unseen would be worse than one that goes to the wrong place.
    channel::log::deliver(&job.command);
    let requested = job.command.payload.get("channels").cloned().unwrap_or(Value::Null);
    let answer =
        json!({ "status": "delivered", "channels": [channel::log::NAME], "requested": requested });
    match answer {
        Value::Object(output) => Outcome::output(output),
        _ => failure("unsupported", false, "no answer").into(),
    }
}
