//! `lock.list` and `lock.release`.

use std::sync::Arc;

use bytes::Bytes;
use sluice_proto::api::verb;
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::event::ForcedRelease;
use sluice_proto::ids::WorkflowId;
use sluice_proto::operations::{LocksResponse, ReleaseLockRequest};

use super::execute::request_name;
use super::{Answer, decode, encode, submit, text};
use crate::coordinator::Shared;
use crate::intake::{Request, Work, api_error};
use crate::store::{StoreError, locks, requests};

pub(super) async fn list(shared: &Arc<Shared>) -> Answer {
    let listed = async {
        let mut connection = shared.pool.acquire().await?;
        locks::list(&mut connection, None).await
    };
    let locks = listed.await.map_err(|error: StoreError| api_error(&error))?;
    encode(&LocksResponse { count: locks.len(), locks })
}

pub(super) async fn release(
    shared: &Arc<Shared>,
    body: &Bytes,
    request_id: Option<String>,
) -> Answer {
    let asked: ReleaseLockRequest = decode(body)?;
    let reason = text("reason", Some(asked.reason))?
        .ok_or_else(|| ApiError::field("reason", "must say why; it stands in the run's record"))?;
    let released_by = text("released_by", asked.released_by)?.unwrap_or_else(|| "unknown".into());
    let request = request_name(asked.request_id.or(request_id), verb::LOCK_RELEASE)?;
    let held = holder(shared, &asked.name, request.as_ref()).await;
    let holder = match held.map_err(|error| api_error(&error))? {
        Holder::Answered(answer) => return Ok(answer),
        Holder::Run(run) => run,
    };
    let wanted =
        |run: &WorkflowId| asked.workflow_id.as_deref().is_none_or(|id| id == run.as_str());
    let Some(run) = holder.filter(wanted) else {
        let by = asked.workflow_id.map(|id| format!(" by '{id}'")).unwrap_or_default();
        let detail =
            format!("lock '{}' is not held{by}; `sluice locks` shows who holds what", asked.name);
        return Err(ApiError::new(ErrorCode::LockNotHeld, detail));
    };
    let forced = ForcedRelease { reason, released_by };
    submit(shared, run, Work::ReleaseLock { name: asked.name, forced, request }).await
}

enum Holder {
    Run(Option<WorkflowId>),
    /// The same request was answered before; by now somebody else may hold the lock.
    Answered(Bytes),
}

async fn holder(
    shared: &Shared,
    name: &str,
    request: Option<&Request>,
) -> Result<Holder, StoreError> {
    let mut connection = shared.pool.acquire().await?;
    if let Some(request) = request
        && let Some((verb, answer)) = requests::find(&mut connection, &request.id).await?
        && verb == request.verb
    {
        return Ok(Holder::Answered(answer.into()));
    }
    let holder = locks::holder(&mut connection, name).await?;
    Ok(Holder::Run(holder.and_then(|id| WorkflowId::parse(&id).ok())))
}
