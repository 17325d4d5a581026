//! Runs that nothing happens to any more: marked as failed, never deleted.

use std::sync::Arc;

use sluice_engine::Input;
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;

use super::SweepError;
use crate::coordinator::{Shared, now};
use crate::intake::{Item, ReplyTo, Work};
use crate::store::watch;

pub(super) async fn sweep(shared: &Arc<Shared>) -> Result<(), SweepError> {
    let Some(ttl_ms) = shared.workflow_ttl_ms else { return Ok(()) };
    let now = now();
    let ttl_micros = i64::try_from(ttl_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
    let before = Timestamp::from_micros(now.as_micros().saturating_sub(ttl_micros).max(0));
    let mut connection = shared.pool.acquire().await?;
    let abandoned = watch::abandoned_runs(&mut connection, before.into(), now.into()).await?;
    drop(connection);
    for id in abandoned {
        let Ok(workflow_id) = WorkflowId::parse(&id) else { continue };
        tracing::warn!(
            workflow.id = id,
            "nothing happens to the run any more; it is marked as failed"
        );
        let input = Input::Abandoned { untouched_since: before };
        let work = Work::Control { input, request: None };
        shared.intake.submit(Item { workflow_id, work, reply_to: ReplyTo::Nobody }).await;
    }
    Ok(())
}
