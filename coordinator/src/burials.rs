//! Dead letters as they come: what workers cannot read, and what JetStream gives up.

use std::sync::Arc;

use data_encoding::BASE64;
use futures::StreamExt;
use sluice_bus::{Advisory, GivenUp, Request};
use sluice_proto::burial::Burial;
use sluice_proto::message::{Command, MESSAGE_VERSION, Refusal, ResultReply};
use tokio_util::sync::CancellationToken;

use crate::coordinator::{QUEUE_GROUP, Shared};
use crate::store::StoreError;
use crate::store::dead_letters::{self, NewLetter};

/// Longest reason that is kept, characters.
const MAX_REASON_CHARS: usize = 4_000;
/// Longest subject, bytes.
const MAX_SUBJECT_BYTES: usize = 256;

/// Keeps letters until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut burials = shared.bus.serve(shared.bus.subjects().burials(), QUEUE_GROUP).await?;
    let mut advisories = shared.bus.advisories(QUEUE_GROUP).await?;
    loop {
        tokio::select! {
            Some(request) = burials.next() => bury(&shared, &request).await,
            Some(advisory) = advisories.next() => given_up(&shared, &advisory).await,
            () = stop.cancelled() => break,
            else => break,
        }
    }
    burials.stop().await;
    Ok(())
}

/// A worker keeps the command until it is told that the letter is kept.
async fn bury(shared: &Arc<Shared>, request: &Request) {
    let reply = match read(shared, &request.payload) {
        Some((burial, payload)) => {
            let stream = shared.bus.subjects().steps_stream();
            let key = key(&stream, burial.stream_sequence, shared.stream_created());
            let letter = NewLetter {
                source: "step",
                subject: &burial.subject,
                reason: &reason(&burial.reason),
                payload: &payload,
                message_key: Some(&key),
                workflow_id: None,
                delivered_count: i64::try_from(burial.delivered_count).ok(),
            };
            match keep(shared, &letter).await {
                Ok(()) => ResultReply::Recorded,
                Err(error) => {
                    tracing::warn!(%error, "an unreadable command could not be kept; it will come again");
                    return;
                }
            }
        }
        None => ResultReply::Refused { reason: Refusal::Malformed },
    };
    let body = serde_json::to_vec(&reply).unwrap_or_default();
    if let Err(error) = request.respond(body).await {
        tracing::debug!(%error, "a worker could not be answered; it will ask again");
    }
}

fn read(shared: &Shared, payload: &[u8]) -> Option<(Burial, Vec<u8>)> {
    let burial: Burial = serde_json::from_slice(payload).ok()?;
    let body = BASE64.decode(burial.payload.as_bytes()).ok()?;
    let all_steps = shared.bus.subjects().all_steps();
    let readable = burial.v == MESSAGE_VERSION
        && burial.subject.len() <= MAX_SUBJECT_BYTES
        && burial.subject.starts_with(all_steps.trim_end_matches('>'));
    readable.then_some((burial, body))
}

/// JetStream delivers a message no more.
async fn given_up(shared: &Arc<Shared>, advisory: &Advisory) {
    if let Err(error) = keep_given_up(shared, advisory).await {
        tracing::warn!(
            nats.stream = advisory.stream,
            nats.sequence = advisory.stream_sequence,
            error = %format!("{error:#}"),
            "a message that JetStream gave up could not be kept"
        );
    }
}

async fn keep_given_up(shared: &Arc<Shared>, advisory: &Advisory) -> anyhow::Result<()> {
    let lying = shared.bus.lying_message(advisory).await?;
    let said = advisory.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let text = match advisory.given_up {
        GivenUp::TooOften => format!(
            "delivered {} times to readers of '{}' and never settled",
            advisory.deliveries, advisory.consumer
        ),
        GivenUp::Terminated => {
            format!("a reader of '{}' cannot process it{said}", advisory.consumer)
        }
    };
    let is_step = advisory.stream == shared.bus.subjects().steps_stream();
    // What was terminated is gone from the stream; whoever terminated it may have handed it over before.
    let (subject, payload) = lying.map_or_else(
        || (advisory.stream.clone(), Vec::new()),
        |message| (message.subject, message.payload.to_vec()),
    );
    let command = serde_json::from_slice::<Command>(&payload).ok();
    let workflow_id = command.map(|command| command.workflow_id.to_string());
    let key = key(&advisory.stream, advisory.stream_sequence, shared.stream_created());
    let letter = NewLetter {
        source: if is_step { "step" } else { "command" },
        subject: &subject,
        reason: &reason(&text),
        payload: &payload,
        message_key: Some(&key),
        workflow_id: workflow_id.as_deref(),
        delivered_count: i64::try_from(advisory.deliveries).ok(),
    };
    keep(shared, &letter).await?;
    if advisory.given_up == GivenUp::TooOften {
        // Kept: what would lie in the stream for ever is taken out of it.
        shared.bus.remove_message(advisory).await?;
    }
    Ok(())
}

async fn keep(shared: &Shared, letter: &NewLetter<'_>) -> Result<(), StoreError> {
    let mut connection = shared.pool.acquire().await?;
    if dead_letters::insert(&mut connection, letter).await? {
        shared.metrics.dead_letters.add(1);
        tracing::warn!(
            subject = letter.subject,
            reason = letter.reason,
            "a message became a dead letter; see `sluice dead-letters`"
        );
    }
    Ok(())
}

/// Names a message of one life of a stream.
fn key(stream: &str, sequence: u64, created: i64) -> String {
    format!("{stream}:{created}:{sequence}")
}

fn reason(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(MAX_REASON_CHARS).collect()
}
