//! Fire-and-forget commands: the mutating verbs, taken from a work queue that holds them while no
//! coordinator runs.

use std::sync::Arc;
use std::time::Duration;

use sluice_bus::Delivery;
use sluice_proto::api::verb;
use sluice_proto::error::{ApiError, ErrorCode};
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::coordinator::Shared;
use crate::store::StoreError;
use crate::store::dead_letters::{self, NewLetter};

/// Commands worked on at once.
const MAX_BATCH: usize = 64;
/// Longest wait for one.
const WAIT: Duration = Duration::from_secs(5);
/// Pause after trouble.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes commands until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut puller = shared.bus.command_puller();
    loop {
        let pulled = tokio::select! {
            pulled = puller.next(MAX_BATCH, WAIT) => pulled,
            () = stop.cancelled() => break,
        };
        match pulled {
            Ok(deliveries) => {
                let handled = deliveries.into_iter().map(|delivery| handle(&shared, delivery));
                futures::future::join_all(handled).await;
            }
            Err(error) => {
                tracing::debug!(%error, "commands could not be pulled");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
    }
    puller.pause();
    Ok(())
}

async fn handle(shared: &Arc<Shared>, delivery: Delivery) {
    let verb = shared.bus.subjects().command_verb(&delivery.subject).unwrap_or_default().to_owned();
    let answer = if verb::MUTATING.contains(&verb.as_str()) {
        api::handle(shared, &verb, &delivery.payload, Some(request_id(&delivery))).await
    } else {
        let known = verb::MUTATING.join(", ");
        Err(ApiError::new(
            ErrorCode::RouteNotFound,
            format!("no command '{verb}'; there are: {known}"),
        ))
    };
    let settled = match answer {
        Ok(_) => delivery.ack_confirmed().await,
        // Not refused, only not possible now: it stays in the queue.
        Err(error) if error.code.http_status() >= 500 || error.code == ErrorCode::Overloaded => {
            delivery.nak(Some(patience(&delivery))).await
        }
        Err(error) => match bury(shared, &delivery, &error).await {
            Ok(()) => delivery.ack_confirmed().await,
            Err(cause) => {
                tracing::warn!(error = %cause, "a refused command could not be kept; it will come again");
                delivery.nak(Some(patience(&delivery))).await
            }
        },
    };
    if let Err(error) = settled {
        tracing::debug!(%error, "a command could not be settled; it will come again");
    }
}

/// Longer with every delivery, so that an absence of the database does not use up the deliveries that a
/// command has: they last for a quarter of an hour.
fn patience(delivery: &Delivery) -> Duration {
    let doublings = u32::try_from(delivery.delivered_count.saturating_sub(1)).unwrap_or(u32::MAX);
    PAUSE * 2_u32.pow(doublings.min(6))
}

/// What makes the command one, however often it is delivered: its own name, else when and where the
/// stream took it. The stream's creation time would say the same, but is only known as last seen.
fn request_id(delivery: &Delivery) -> String {
    delivery.message_id.clone().map_or_else(
        || format!("stream:{}:{}", delivery.published_micros, delivery.stream_sequence),
        |id| format!("message:{}", id.chars().take(180).collect::<String>()),
    )
}

async fn bury(shared: &Shared, delivery: &Delivery, error: &ApiError) -> Result<(), StoreError> {
    tracing::warn!(subject = delivery.subject, code = ?error.code, detail = error.detail, "a command was refused");
    shared.metrics.dead_letters.add(1);
    let mut connection = shared.pool.acquire().await?;
    let key = format!("refused:{}", request_id(delivery));
    let letter = NewLetter {
        source: "command",
        subject: &delivery.subject,
        reason: &error.detail,
        payload: &delivery.payload,
        message_key: Some(&key),
        workflow_id: None,
        delivered_count: i64::try_from(delivery.delivered_count).ok(),
    };
    dead_letters::insert(&mut connection, &letter).await.map(drop)
}
