//! `worker.list`: who is there, and what they hold.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_proto::operations::{HeldAttempt, WorkerStatus, WorkerView, WorkersResponse};
use sluice_proto::timestamp::Timestamp;

use super::{Answer, encode};
use crate::coordinator::{Shared, now};
use crate::intake::api_error;
use crate::store::StoreError;
use crate::store::attempts::{self, StoredAttempt};
use crate::store::workers::{self, StoredWorker};

pub(super) async fn list(shared: &Arc<Shared>) -> Answer {
    let listed = async {
        let mut connection = shared.pool.acquire().await?;
        let known = workers::list(&mut connection).await?;
        Ok((known, attempts::leased(&mut connection).await?))
    };
    let (known, leased) = listed.await.map_err(|error: StoreError| api_error(&error))?;
    let mut held: HashMap<String, Vec<HeldAttempt>> = HashMap::new();
    for stored in leased {
        if let Some((worker_id, attempt)) = attempt_of(stored) {
            held.entry(worker_id).or_default().push(attempt);
        }
    }
    let mut workers: Vec<WorkerView> = known
        .into_iter()
        .map(|worker| {
            let attempts = held.remove(&worker.worker_id).unwrap_or_default();
            announced(worker, attempts, shared.lease_ms)
        })
        .collect();
    let mut others: Vec<_> = held.into_iter().collect();
    others.sort_by(|a, b| a.0.cmp(&b.0));
    workers
        .extend(others.into_iter().map(|(worker_id, attempts)| unannounced(worker_id, attempts)));
    encode(&WorkersResponse { count: workers.len(), workers })
}

fn attempt_of(stored: StoredAttempt) -> Option<(String, HeldAttempt)> {
    let row = stored.row;
    let attempt = HeldAttempt {
        workflow_id: stored.id.workflow_id.to_string(),
        step_id: stored.id.step_path,
        attempt: stored.id.attempt,
        agent: stored.agent,
        since: row.leased_at?,
        lease_until: row.lease_until?,
        claimed: row.claimed,
    };
    Some((row.worker?, attempt))
}

fn announced(worker: StoredWorker, attempts: Vec<HeldAttempt>, lease_ms: u64) -> WorkerView {
    let heard_at = Timestamp::from(worker.heard_at);
    let is_live = worker.lost_at.is_none() && now().ms_since(heard_at) <= lease_ms;
    let count = |n: i32| u32::try_from(n).unwrap_or_default();
    WorkerView {
        name: Some(worker.name),
        worker_id: worker.worker_id,
        status: if is_live { WorkerStatus::Live } else { WorkerStatus::Lost },
        agents: worker.agents,
        concurrency: Some(count(worker.concurrency)),
        version: Some(worker.version),
        started_at: Some(worker.started_at.into()),
        last_heard_at: Some(heard_at),
        // Its last word may be older than what it has been heard of since.
        held: count(worker.held).max(u32::try_from(attempts.len()).unwrap_or(u32::MAX)),
        attempts,
    }
}

fn unannounced(worker_id: String, attempts: Vec<HeldAttempt>) -> WorkerView {
    let mut agents: Vec<String> = attempts.iter().map(|held| held.agent.clone()).collect();
    agents.sort_unstable();
    agents.dedup();
    WorkerView {
        name: None,
        worker_id,
        status: WorkerStatus::Unannounced,
        agents,
        concurrency: None,
        version: None,
        started_at: None,
        last_heard_at: None,
        held: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
        attempts,
    }
}
