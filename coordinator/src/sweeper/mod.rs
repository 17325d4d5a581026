//! The sweeper: finds what a crash, a lost message or a lost worker left behind.
//!
//! Every coordinator sweeps. Whatever two of them find at once is written under a condition that only
//! one of them meets.

mod attempts;
mod locks;
mod timers;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub(crate) use attempts::lose;

use crate::coordinator::Shared;
use crate::roster;
use crate::store::{self, StoreError, dead_letters, events, requests, workers};

/// Time between two sweeps; moved by up to a fifth, so that coordinators do not sweep in step.
const INTERVAL_MS: u64 = 500;
/// Time between two rounds of the watchdog.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two rounds of housekeeping.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(3_600);

/// Why a sweep was not finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] sluice_bus::BusError),
}

impl From<sqlx::Error> for SweepError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Sweeps until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let (mut watched, mut kept) = (Instant::now(), None);
    // Since when heartbeats get through, as far as anybody can tell.
    let mut hears_since = None;
    let mut failing = false;
    let mut looked = Instant::now();
    loop {
        let wait = Duration::from_millis(fastrand::u64(INTERVAL_MS * 4 / 5..=INTERVAL_MS * 6 / 5));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
        let watch = watched.elapsed() >= WATCHDOG_INTERVAL;
        let keep = kept.is_none_or(|at: Instant| at.elapsed() >= HOUSEKEEPING_INTERVAL);
        let lease = Duration::from_millis(shared.lease_ms);
        // A machine that holds this loop up holds workers and their heartbeats up as well.
        if looked.elapsed() > lease / 3 + wait {
            shared.hearing.has_failed();
        }
        looked = Instant::now();
        let hears = hears_since.is_some_and(|at: Instant| at.elapsed() >= lease)
            && !shared.hearing.failed_within(lease);
        let leases = if hears { Leases::Judged } else { Leases::Spared };
        match sweep(&shared, leases, watch, keep).await {
            Ok(()) => {
                // After an absence, heartbeats may still be held up for as long as a connection takes
                // to come back, here or in another coordinator.
                let held_up = if failing { store::ACQUIRE_TIMEOUT } else { Duration::ZERO };
                hears_since = hears_since.or_else(|| Some(Instant::now() + held_up));
                failing = false;
                if watch {
                    watched = Instant::now();
                }
                if keep {
                    kept = Some(Instant::now());
                }
            }
            Err(error) => {
                hears_since = None;
                // Told once an absence, not twice a second.
                if !failing {
                    tracing::warn!(%error, "a sweep failed; the next one tries again");
                }
                failing = true;
            }
        }
    }
}

/// Whether a silent worker is a lost one. When NATS, PostgreSQL or this coordinator was away or behind, it
/// is not: its heartbeats could not get through, so a whole lease passes first in which they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leases {
    Judged,
    Spared,
}

async fn sweep(
    shared: &Arc<Shared>,
    leases: Leases,
    watch: bool,
    keep: bool,
) -> Result<(), SweepError> {
    locks::sweep(shared).await?;
    timers::sweep(shared).await?;
    // Asked first: without NATS nothing is swept.
    let created = shared.bus.steps_stream_created().await?;
    attempts::sweep_overdue(shared, leases).await?;
    if leases == Leases::Judged {
        roster::sweep(shared).await?;
    }
    if created.is_none() {
        shared.bus.ensure_topology().await?;
    }
    shared.stream_created_micros.store(created.unwrap_or_default(), Ordering::Release);
    attempts::sweep_lanes(shared).await?;
    if watch {
        watchdog::sweep(shared).await?;
    }
    if keep {
        let mut connection = shared.pool.acquire().await?;
        events::ensure_partitions(&mut connection).await?;
        requests::delete_old(&mut connection).await?;
        workers::delete_lost(&mut connection).await?;
        dead_letters::delete_old(&mut connection).await?;
    }
    Ok(())
}
