//! Claims and heartbeats, gathered like results: one transaction for many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use sluice_bus::{Bus, Request};
use sluice_engine::attempt::AttemptRow;
use sluice_proto::ids::CommandId;
use sluice_proto::message::{Claim, ClaimReply, Heartbeat, Refusal};
use sluice_proto::timestamp::Timestamp;
use sqlx::Acquire;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::coordinator::{QUEUE_GROUP, Shared, now};
use crate::store::StoreError;
use crate::store::attempts::{self, AttemptKey, StoredAttempt};

/// Messages that may wait.
const QUEUE: usize = 4_096;
/// Messages in one transaction.
const MAX_BATCH: usize = 512;
/// How often a batch is written in which another writer was first.
const MAX_TRIES: u32 = 5;

struct Message {
    id: CommandId,
    agent: String,
    fence: u64,
    worker_id: String,
    is_claim: bool,
    request: Request,
    arrived: Instant,
}

impl Message {
    /// A heartbeat that nobody waits for comes again; a row that another transaction is at is spared it.
    fn can_wait(&self) -> bool {
        !self.is_claim && !self.request.wants_reply()
    }
}

/// Serves claims and heartbeats until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let (sender, mut queue) = mpsc::channel(QUEUE);
    let readers = [
        tokio::spawn(read(shared.bus.clone(), true, sender.clone(), stop.clone())),
        tokio::spawn(read(shared.bus.clone(), false, sender, stop.clone())),
    ];
    let mut messages = Vec::with_capacity(MAX_BATCH);
    while queue.recv_many(&mut messages, MAX_BATCH).await > 0 {
        hear(&shared, &messages).await;
        messages.clear();
    }
    for reader in readers {
        reader.await??;
    }
    Ok(())
}

/// Writes what was said, and notes when that was lost or late: silence says nothing about workers then.
async fn hear(shared: &Arc<Shared>, messages: &[Message]) {
    let mut tries = 1;
    let written = loop {
        match apply(shared, messages).await {
            Err(StoreError::Conflict) if tries < MAX_TRIES => tries += 1,
            written => break written,
        }
    };
    if let Err(error) = &written {
        // Nobody is answered: workers ask again, and leases outlast a short absence.
        tracing::warn!(%error, "claims and heartbeats could not be written");
    }
    let late = Duration::from_millis(shared.lease_ms / 3);
    if written.is_err() || messages.iter().any(|message| message.arrived.elapsed() > late) {
        shared.hearing.has_failed();
    }
}

async fn read(
    bus: Bus,
    is_claim: bool,
    queue: mpsc::Sender<Message>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let pattern = bus.subjects().all_of(if is_claim { "claim" } else { "heartbeat" });
    let mut requests = bus.serve(pattern, QUEUE_GROUP).await?;
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = stop.cancelled() => break,
        };
        let Some(request) = request else { break };
        match decode(&bus, is_claim, request) {
            Ok(message) => {
                if queue.send(message).await.is_err() {
                    break;
                }
            }
            Err(request) => answer_claim(&request, &refused(Refusal::Malformed)).await,
        }
    }
    requests.stop().await;
    Ok(())
}

fn decode(bus: &Bus, is_claim: bool, request: Request) -> Result<Message, Box<Request>> {
    let Some(agent) = bus.subjects().agent_token(&request.subject).map(str::to_owned) else {
        return Err(Box::new(request));
    };
    let fields = if is_claim {
        serde_json::from_slice::<Claim>(&request.payload)
            .map(|m| (m.command_id, m.fence, m.worker_id))
    } else {
        serde_json::from_slice::<Heartbeat>(&request.payload)
            .map(|m| (m.command_id, m.fence, m.worker_id))
    };
    match fields {
        Ok((id, fence, worker_id)) if worker_id.len() <= 128 && !worker_id.contains('\0') => {
            Ok(Message { id, agent, fence, worker_id, is_claim, request, arrived: Instant::now() })
        }
        _ => Err(Box::new(request)),
    }
}

/// A change that is due to one message, or the reason why there is none.
type Outcome = Result<Timestamp, Refusal>;

async fn apply(shared: &Arc<Shared>, messages: &[Message]) -> Result<(), StoreError> {
    let keys: Vec<AttemptKey> = messages.iter().map(|m| AttemptKey::from(&m.id)).collect();
    let mut connection = shared.pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for (message, key) in messages.iter().zip(&keys) {
        if message.can_wait() { &mut told } else { &mut asked }.push(key.clone());
    }
    let mut stored = Vec::with_capacity(keys.len());
    if !asked.is_empty() {
        stored = attempts::find_for_update(&mut transaction, &asked).await?;
    }
    if !told.is_empty() {
        stored.extend(attempts::find_free_for_update(&mut transaction, &told).await?);
    }
    let mut rows: HashMap<AttemptKey, (StoredAttempt, AttemptRow)> = stored
        .into_iter()
        .map(|stored| (AttemptKey::from(&stored.id), (stored.clone(), stored.row)))
        .collect();
    let now = now();
    let mut outcomes: Vec<(Outcome, u64)> = Vec::with_capacity(messages.len());
    for (message, key) in messages.iter().zip(&keys) {
        outcomes.push(decide(message, rows.get_mut(key), now));
    }
    let changes: Vec<(StoredAttempt, AttemptRow)> =
        rows.into_values().filter(|(stored, row)| stored.row != *row).collect();
    if !changes.is_empty() {
        attempts::update(&mut transaction, &changes).await?;
    }
    transaction.commit().await?;
    drop(connection);
    for (message, (outcome, fence)) in messages.iter().zip(outcomes) {
        reply(shared, message, outcome, fence).await;
    }
    Ok(())
}

/// Moves the row as the message asks, in memory; gives the end of the lease and the fence in force.
fn decide(
    message: &Message,
    found: Option<&mut (StoredAttempt, AttemptRow)>,
    now: Timestamp,
) -> (Outcome, u64) {
    let Some((stored, row)) = found else { return (Err(Refusal::NotOutstanding), 0) };
    if stored.agent != message.agent {
        return (Err(Refusal::WrongAgent), 0);
    }
    let moved = if message.is_claim {
        row.claim(message.fence, &message.worker_id, now)
    } else {
        row.heartbeat(message.fence, &message.worker_id, now)
    };
    match moved {
        Ok(moved) => {
            *row = moved;
            (Ok(row.lease_until.unwrap_or(now)), row.fence)
        }
        Err(refusal) => (Err(refusal), 0),
    }
}

async fn reply(shared: &Shared, message: &Message, outcome: Outcome, fence: u64) {
    let reply = match outcome {
        Ok(lease_until) => ClaimReply::Granted { fence, lease_until },
        Err(refusal) => refused(refusal),
    };
    if message.is_claim {
        match outcome {
            Ok(_) => shared.metrics.claims_granted.add(1),
            Err(_) => shared.metrics.claims_refused.add(1),
        }
    }
    answer_claim(&message.request, &reply).await;
}

fn refused(reason: Refusal) -> ClaimReply {
    ClaimReply::Refused { reason }
}

async fn answer_claim(request: &Request, reply: &ClaimReply) {
    if !request.wants_reply() {
        return;
    }
    let body = serde_json::to_vec(reply).unwrap_or_default();
    if let Err(error) = request.respond(body).await {
        tracing::debug!(%error, "a worker could not be answered; it will ask again");
    }
}
