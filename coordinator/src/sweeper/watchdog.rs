//! The watchdog: every open run waits for something that has a name. One that does not is counted,
//! logged and repaired by writing down what its state wants to be outstanding.

use std::sync::Arc;

use sluice_engine::{Effect, State, effects};
use sluice_proto::timestamp::Timestamp;
use sqlx::PgConnection;

use super::SweepError;
use crate::coordinator::{Shared, now};
use crate::intake::working::{stored_attempt, timer_row};
use crate::loader::LoadedRun;
use crate::store::locks::{self, NewWaiter};
use crate::store::{attempts, child_waits, timers, watch};

/// A run must have been still for this long before it is looked at, milliseconds.
const STILL_MS: i64 = 10_000;

pub(super) async fn sweep(shared: &Arc<Shared>) -> Result<(), SweepError> {
    let before = Timestamp::from_micros(now().as_micros() - STILL_MS * 1_000);
    let mut connection = shared.pool.acquire().await?;
    let stranded = watch::stranded_runs(&mut connection, before.into()).await?;
    if stranded.is_empty() {
        return Ok(());
    }
    for (id, run) in shared.loader.load(&mut connection, &stranded).await? {
        shared.metrics.runs_repaired.add(1);
        tracing::error!(
            workflow.id = id,
            "the run waits for nothing; what it should wait for is restored"
        );
        repair(shared, &mut connection, &run).await?;
    }
    Ok(())
}

async fn repair(
    shared: &Shared,
    connection: &mut PgConnection,
    run: &LoadedRun,
) -> Result<(), SweepError> {
    let nothing = State::new(run.head.workflow_id.clone());
    for effect in effects(&run.template, &shared.agents, &nothing, &run.state) {
        match effect {
            Effect::CreateAttempt(draft) => {
                let stored = stored_attempt(shared, &run.head.workflow_id, &draft, now());
                // Published by the next sweep, like any attempt whose dispatcher vanished.
                attempts::insert(connection, &[stored]).await?;
            }
            Effect::RequestLock(wish) => {
                let names = std::slice::from_ref(&wish.name);
                locks::take_rows(connection, names).await?;
                let waiter = NewWaiter {
                    name: &wish.name,
                    workflow_id: run.head.workflow_id.as_str(),
                    step: &wish.step,
                    urgent: run.template.urgent,
                    requested_at: now().into(),
                    wait_until: wish.wait_until.map(Into::into),
                };
                locks::enqueue(connection, waiter).await?;
            }
            Effect::StartTimer(wish) => {
                let row = timer_row(&run.head.workflow_id, &wish);
                timers::insert(connection, &[row]).await?;
            }
            Effect::StartChild { wish, .. } => {
                let (step, child) = (&wish.step, wish.workflow_id.as_str());
                let parent = run.head.workflow_id.as_str();
                child_waits::insert(connection, parent, step, wish.visit, child).await?;
            }
            // An approval can be decided without its row; nothing else is asked for from nothing.
            _ => {}
        }
    }
    Ok(())
}
