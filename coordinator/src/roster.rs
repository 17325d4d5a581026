//! Workers by name: who comes back gets what its former process held dispatched again at once, and two
//! that are alive never share a name.
//!
//! Whoever held an attempt under a claim, or for long enough to send a heartbeat, is named in the attempt's
//! row. The rest is found by a roll call: every worker that is alive says what it holds, and a command that
//! was delivered by then and is not heard of was lost with its worker.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use sluice_bus::{BusError, Request};
use sluice_proto::ids::{AgentName, WorkerName};
use sluice_proto::message::MESSAGE_VERSION;
use sluice_proto::roster::{
    Announcement, AnnouncementReply, NameRefusal, PresenceQuestion, RollCall,
};
use sluice_proto::timestamp::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::coordinator::{QUEUE_GROUP, Shared, now};
use crate::store::StoreError;
use crate::store::attempts::{self, Delivered, StoredAttempt};
use crate::store::workers::{self, StoredWorker};
use crate::sweeper::{self, SweepError};

/// Announcements worked on at once; the others are announced again.
const MAX_OPEN: usize = 64;
/// Most agents of one worker.
const MAX_AGENTS: usize = 1_000;
/// Longest wait for a worker to say that it is alive.
const PRESENCE_TIMEOUT: Duration = Duration::from_millis(750);
/// Time in which the heartbeats of a roll call come in and are written.
const ROLL_CALL: Duration = Duration::from_millis(250);
/// Repeats when another coordinator changes the holder of a name at the same time.
const MAX_CONFLICTS: u32 = 5;

/// Answers announcements until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut requests = shared.bus.serve(shared.bus.subjects().announcements(), QUEUE_GROUP).await?;
    let room = Arc::new(Semaphore::new(MAX_OPEN));
    let mut open = JoinSet::new();
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
        };
        let Some(request) = request else { break };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let shared = Arc::clone(&shared);
        open.spawn(async move {
            answer(&shared, &request).await;
            drop(permit);
        });
    }
    requests.stop().await;
    while open.join_next().await.is_some() {}
    Ok(())
}

async fn answer(shared: &Arc<Shared>, request: &Request) {
    let reply = match read(&request.payload) {
        Some(announcement) => match hear(shared, &announcement).await {
            Ok(reply) => reply,
            // Nobody is answered: the worker announces itself again.
            Err(error) => {
                tracing::warn!(worker.id = %announcement.worker_id, %error, "an announcement could not be written");
                return;
            }
        },
        None => refused(NameRefusal::Malformed, "", None),
    };
    let body = serde_json::to_vec(&reply).unwrap_or_default();
    if let Err(error) = request.respond(body).await {
        tracing::debug!(%error, "a worker could not be answered; it will announce itself again");
    }
}

fn read(payload: &[u8]) -> Option<Announcement> {
    let announcement: Announcement = serde_json::from_slice(payload).ok()?;
    let readable = announcement.v == MESSAGE_VERSION
        && announcement.agents.len() <= MAX_AGENTS
        && announcement.version.len() <= 64
        && !announcement.version.contains('\0');
    readable.then_some(announcement)
}

/// What an announcement makes true, and what its worker is told.
async fn hear(
    shared: &Arc<Shared>,
    announcement: &Announcement,
) -> Result<AnnouncementReply, SweepError> {
    for _ in 0..MAX_CONFLICTS {
        let mut connection = shared.pool.acquire().await?;
        let holder = workers::find(&mut connection, announcement.name.as_str()).await?;
        drop(connection);
        let own = |holder: &StoredWorker| holder.worker_id == announcement.worker_id.as_str();
        let former = match holder {
            Some(holder) if !own(&holder) => {
                if let Err(refusal) = may_follow(shared, &holder, announcement).await? {
                    return Ok(refusal);
                }
                Some(holder)
            }
            _ => None,
        };
        if announcement.leaving {
            return leave(shared, announcement).await;
        }
        if take_over(shared, announcement, former).await? {
            return Ok(AnnouncementReply::Welcome { lease_ms: shared.lease_ms });
        }
    }
    Err(StoreError::Conflict.into())
}

/// Whether the name may go from `holder` to who announces itself.
async fn may_follow(
    shared: &Shared,
    holder: &StoredWorker,
    announcement: &Announcement,
) -> Result<Result<(), AnnouncementReply>, SweepError> {
    let refuse =
        |reason, retry_after_ms| Ok(Err(refused(reason, &holder.worker_id, retry_after_ms)));
    if announcement.joined || announcement.leaving {
        return refuse(NameRefusal::Superseded, None);
    }
    let Ok(worker_id) = WorkerName::parse(&holder.worker_id) else { return Ok(Ok(())) };
    let question = serde_json::to_vec(&PresenceQuestion { v: MESSAGE_VERSION }).unwrap_or_default();
    let subject = shared.bus.subjects().presence_of(&worker_id);
    match shared.bus.request(subject, question, PRESENCE_TIMEOUT).await {
        Ok(_) => refuse(NameRefusal::Taken, None),
        // The server has no connection of that process any more.
        Err(BusError::NoResponders) => Ok(Ok(())),
        // Frozen, or behind a network that is away: it may come back, and gets the lease that its
        // attempts get.
        Err(BusError::Timeout) => {
            let silent_ms = now().ms_since(Timestamp::from(holder.heard_at));
            match shared.lease_ms.checked_sub(silent_ms).filter(|left_ms| *left_ms > 0) {
                Some(left_ms) => refuse(NameRefusal::Silent, Some(left_ms)),
                None => Ok(Ok(())),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn refused(reason: NameRefusal, holder: &str, retry_after_ms: Option<u64>) -> AnnouncementReply {
    AnnouncementReply::Refused { reason, holder: holder.to_owned(), retry_after_ms }
}

/// Gives the name to who announces itself, and what `former` held to whoever comes; false when somebody
/// else has the name by now.
async fn take_over(
    shared: &Arc<Shared>,
    announcement: &Announcement,
    former: Option<StoredWorker>,
) -> Result<bool, SweepError> {
    let Some(former) = former else {
        let mut connection = shared.pool.acquire().await?;
        return Ok(workers::put(&mut connection, announcement, None, now().into()).await?);
    };
    // Looked at before the new process takes anything: what was delivered by now, the former one may have.
    let delivered = delivered(shared, &former).await?;
    // Released first: if this coordinator dies now, the worker announces itself again.
    let released = release(shared, &former.worker_id, |_| true).await?;
    let mut connection = shared.pool.acquire().await?;
    let is_ours =
        workers::put(&mut connection, announcement, Some(&former.worker_id), now().into()).await?;
    if is_ours {
        tracing::info!(
            worker.name = former.name,
            worker.id = %announcement.worker_id,
            worker.former = former.worker_id,
            attempts = released,
            "a worker is back; what its former process held is dispatched again"
        );
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            if let Err(error) = call_the_roll(&shared, delivered).await {
                tracing::warn!(%error, "a roll call failed; JetStream delivers again what nobody has");
            }
        });
    }
    Ok(is_ours)
}

/// The worker has ended in order: what it had claimed ended with it. The rest it handed back to JetStream,
/// and another worker may have it by now.
async fn leave(
    shared: &Arc<Shared>,
    announcement: &Announcement,
) -> Result<AnnouncementReply, SweepError> {
    release(shared, announcement.worker_id.as_str(), |held| held.row.claimed).await?;
    let mut connection = shared.pool.acquire().await?;
    workers::delete(&mut connection, announcement.name.as_str(), announcement.worker_id.as_str())
        .await?;
    Ok(AnnouncementReply::Welcome { lease_ms: shared.lease_ms })
}

/// Ends those leases of a process that is gone that are `meant`; how many there were.
async fn release(
    shared: &Arc<Shared>,
    worker_id: &str,
    meant: impl Fn(&StoredAttempt) -> bool,
) -> Result<usize, SweepError> {
    let mut connection = shared.pool.acquire().await?;
    let mut held = attempts::held_by(&mut connection, worker_id).await?;
    drop(connection);
    held.retain(meant);
    let count = held.len();
    sweeper::lose(shared, held).await?;
    Ok(count)
}

/// Workers of which nobody has heard for a lease: what they held by name ends with its lease, what they
/// held namelessly is found by a roll call.
pub(crate) async fn sweep(shared: &Arc<Shared>) -> Result<(), SweepError> {
    let lease_ago =
        Timestamp::from_micros(now().as_micros() - shared.lease_ms.cast_signed() * 1_000);
    let mut connection = shared.pool.acquire().await?;
    let silent = workers::silent(&mut connection, lease_ago.into()).await?;
    drop(connection);
    for worker in silent {
        tracing::warn!(
            worker.name = worker.name,
            worker.id = worker.worker_id,
            "a worker was not heard of for a lease"
        );
        let delivered = delivered(shared, &worker).await?;
        call_the_roll(shared, delivered).await?;
        let mut connection = shared.pool.acquire().await?;
        workers::mark_lost(&mut connection, &worker, now().into()).await?;
    }
    Ok(())
}

/// How far the lanes of its agents were delivered, where anything waits at all.
async fn delivered(shared: &Shared, worker: &StoredWorker) -> Result<Vec<Delivered>, SweepError> {
    let mut connection = shared.pool.acquire().await?;
    let mut lanes = attempts::queued_lanes(&mut connection).await?;
    drop(connection);
    lanes.retain(|(agent, _)| worker.agents.contains(agent));
    let looks = lanes.into_iter().map(async |(agent, urgent)| {
        let Ok(name) = AgentName::parse(&agent) else { return Ok(None) };
        let view = shared.bus.step_lane(&name, urgent).await?;
        let (stream_created_micros, sequence) = (view.stream_created_micros, view.delivered);
        let delivered = Delivered { agent, urgent, stream_created_micros, sequence };
        Ok::<_, BusError>(view.exists.then_some(delivered))
    });
    let looks = futures::future::try_join_all(looks).await?;
    Ok(looks.into_iter().flatten().collect())
}

/// Dispatches again what was delivered and what no worker says it has.
async fn call_the_roll(shared: &Arc<Shared>, lanes: Vec<Delivered>) -> Result<(), SweepError> {
    let mut agents: Vec<AgentName> =
        lanes.iter().filter_map(|lane| AgentName::parse(&lane.agent).ok()).collect();
    agents.sort_unstable();
    agents.dedup();
    if agents.is_empty() {
        return Ok(());
    }
    let call = RollCall { v: MESSAGE_VERSION, agents };
    let body = serde_json::to_vec(&call).unwrap_or_default();
    shared.bus.publish(shared.bus.subjects().roll_call(), body).await?;
    tokio::time::sleep(ROLL_CALL).await;
    for lane in lanes {
        let mut connection = shared.pool.acquire().await?;
        let unheard = attempts::find_unheard(&mut connection, &lane).await?;
        drop(connection);
        if !unheard.is_empty() {
            tracing::info!(
                agent = lane.agent,
                attempts = unheard.len(),
                "delivered and not heard of: dispatched again"
            );
        }
        sweeper::lose(shared, unheard).await?;
    }
    Ok(())
}
