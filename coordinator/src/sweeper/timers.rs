//! Moments that have come.

use std::sync::Arc;

use sluice_proto::ids::WorkflowId;

use super::SweepError;
use crate::coordinator::{Shared, now};
use crate::intake::{Item, ReplyTo, Work};
use crate::store::timers;

pub(super) async fn sweep(shared: &Arc<Shared>) -> Result<(), SweepError> {
    let mut connection = shared.pool.acquire().await?;
    let due = timers::due(&mut connection, now().into()).await?;
    drop(connection);
    for (workflow_id, step, visit) in due {
        let Ok(workflow_id) = WorkflowId::parse(&workflow_id) else { continue };
        let work = Work::TimerDue { step, visit: u32::try_from(visit).unwrap_or_default() };
        shared.intake.submit(Item { workflow_id, work, reply_to: ReplyTo::Nobody }).await;
    }
    Ok(())
}
