//! The sweeper: finds what a crash, a lost message or a lost worker left behind.
//!
//! Every coordinator sweeps. Whatever two of them find at once is written under a condition that only
//! one of them meets.

mod abandoned;
mod attempts;
mod children;
mod judging;
mod locks;
mod timers;
mod watchdog;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub(crate) use attempts::lose;

use crate::coordinator::Shared;
use crate::dispatcher;
use crate::roster;
use crate::store::{StoreError, dead_letters, events, requests, workers};
use judging::Judging;

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
    let mut judging = Judging::new(shared.lease_ms);
    let mut failing = false;
    loop {
        let wait = Duration::from_millis(fastrand::u64(INTERVAL_MS * 4 / 5..=INTERVAL_MS * 6 / 5));
        let pause = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
        judging.begins(wait, pause.elapsed());
        let watch = watched.elapsed() >= WATCHDOG_INTERVAL;
        let keep = kept.is_none_or(|at: Instant| at.elapsed() >= HOUSEKEEPING_INTERVAL);
        match sweep(&shared, &judging, watch, keep).await {
            Ok(heard) => {
                judging.ends(heard, failing);
                failing = false;
                if watch {
                    watched = Instant::now();
                }
                if keep {
                    kept = Some(Instant::now());
                }
            }
            Err(error) => {
                judging.fails();
                // Told once an absence, not twice a second.
                if !failing {
                    tracing::warn!(%error, "a sweep failed; the next one tries again");
                }
                failing = true;
            }
        }
    }
}

/// Gives whether heartbeats come through.
async fn sweep(
    shared: &Arc<Shared>,
    judging: &Judging,
    watch: bool,
    keep: bool,
) -> Result<bool, SweepError> {
    locks::sweep(shared).await?;
    timers::sweep(shared).await?;
    // Asked first: without NATS nothing is swept.
    dispatcher::look_at_stream(shared).await?;
    let heard = judging::is_heard(shared).await?;
    let judges = || heard && judging.allows() && !shared.hearing.failed_within(judging.lease());
    attempts::sweep_overdue(shared, judges).await?;
    if judges() {
        roster::sweep(shared).await?;
    }
    attempts::sweep_lanes(shared).await?;
    if watch {
        watchdog::sweep(shared).await?;
        abandoned::sweep(shared).await?;
        children::sweep(shared).await?;
    }
    if keep {
        let mut connection = shared.pool.acquire().await?;
        events::ensure_partitions(&mut connection).await?;
        requests::delete_old(&mut connection).await?;
        workers::delete_lost(&mut connection).await?;
        dead_letters::delete_old(&mut connection).await?;
    }
    Ok(heard)
}
