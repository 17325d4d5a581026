//! Locks that are free while others queue, and waits that are over.

use std::sync::Arc;

use sluice_proto::ids::WorkflowId;

use super::SweepError;
use crate::coordinator::Shared;
use crate::intake::{Item, ReplyTo, Work};
use crate::store::{locks, watch};

pub(super) async fn sweep(shared: &Arc<Shared>) -> Result<(), SweepError> {
    let mut connection = shared.pool.acquire().await?;
    let overdue = locks::overdue_waiters(&mut connection).await?;
    let idle = watch::idle_locks(&mut connection).await?;
    drop(connection);
    for (workflow_id, step, name) in overdue {
        submit(shared, &workflow_id, Work::LockTimedOut { step, name }).await;
    }
    for (name, waiter) in idle {
        submit(shared, &waiter, Work::GrantLock { name }).await;
    }
    Ok(())
}

async fn submit(shared: &Shared, workflow_id: &str, work: Work) {
    let Ok(workflow_id) = WorkflowId::parse(workflow_id) else { return };
    shared.intake.submit(Item { workflow_id, work, reply_to: ReplyTo::Nobody }).await;
}
