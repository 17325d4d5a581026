//! Children whose end did not reach their parents. None should be: both are of one transaction.

use std::sync::Arc;

use sluice_proto::ids::WorkflowId;

use super::SweepError;
use crate::coordinator::Shared;
use crate::intake::{Item, ReplyTo, Work};
use crate::store::child_waits;

pub(super) async fn sweep(shared: &Arc<Shared>) -> Result<(), SweepError> {
    let mut connection = shared.pool.acquire().await?;
    let over = child_waits::over(&mut connection).await?;
    drop(connection);
    for (parent, child) in over {
        let (Ok(workflow_id), Ok(child)) = (WorkflowId::parse(&parent), WorkflowId::parse(&child))
        else {
            continue;
        };
        tracing::error!(
            workflow.id = parent,
            child.id = %child,
            "the run still waits for a child that has ended; it is told"
        );
        shared.metrics.runs_repaired.add(1);
        let work = Work::ChildOver { child };
        shared.intake.submit(Item { workflow_id, work, reply_to: ReplyTo::Nobody }).await;
    }
    Ok(())
}
