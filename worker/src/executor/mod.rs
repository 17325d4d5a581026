//! From a command in the queue to a recorded result.
//!
//! One loop per agent pulls no more than there is room for. Each command becomes an attempt with a task of
//! its own: claim, run under heartbeat, report, acknowledge last. The acknowledgement is the receipt that
//! the coordinator has the result, so an attempt ends in exactly one of four ways: see
//! [`attempt::Ending`].

mod ask;
mod attempt;
mod held;
mod pull;
mod report;
mod slots;

use std::sync::Arc;

use sluice_bus::Bus;
use sluice_proto::ids::{AgentName, WorkerName};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::Runtime;

pub(crate) use attempt::now;
pub(crate) use held::{Held, watch_cancels};
pub(crate) use pull::pull;

/// What all attempts of a worker share.
pub(crate) struct Context {
    pub(crate) bus: Bus,
    /// This process, in claims, heartbeats and results.
    pub(crate) worker_id: WorkerName,
    pub(crate) held: Held,
    pub(crate) attempts: TaskTracker,
    /// Room for attempts over all agents.
    pub(crate) slots: Arc<Semaphore>,
    /// Nothing more is begun.
    pub(crate) closing: CancellationToken,
    /// What has not ended yet is handed back.
    pub(crate) ended: CancellationToken,
    /// Nothing is held any more.
    pub(crate) left: CancellationToken,
    /// The coordinator was told so, as far as possible.
    pub(crate) gone: CancellationToken,
    /// Why the worker may not go on.
    pub(crate) expelled: watch::Sender<Option<String>>,
    /// When somebody last asked what is held here.
    pub(crate) roll_calls: watch::Sender<Option<Instant>>,
}

/// An agent that this worker runs.
pub(crate) struct Seat {
    pub(crate) agent: AgentName,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Room for attempts of this agent.
    pub(crate) slots: Arc<Semaphore>,
}
