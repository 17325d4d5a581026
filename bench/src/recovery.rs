//! What becomes of runs when a process is killed at full load and started anew at once.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::drive::{Driver, Load};
use crate::role::Role;
use crate::site::Site;

/// How long the load runs before the kill.
const LOADED: Duration = Duration::from_secs(6);
/// Longest wait for the last run.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What came of one kill.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Recovery {
    pub(crate) killed: &'static str,
    /// Runs that had not ended when it was killed.
    pub(crate) in_flight: i64,
    /// From the kill to the end of the last of them.
    pub(crate) seconds: f64,
    pub(crate) seconds_range: (f64, f64),
    /// Calls of the agent beyond one a step.
    pub(crate) repeated_calls: usize,
    /// Runs that ended otherwise than well.
    pub(crate) not_completed: i64,
}

impl Recovery {
    /// The round in the middle, with the range of all, and the worst of what must not be.
    pub(crate) fn median(mut rounds: Vec<Self>) -> Self {
        rounds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let seconds_range = (rounds[0].seconds, rounds[rounds.len() - 1].seconds);
        let not_completed = rounds.iter().map(|round| round.not_completed).max().unwrap_or(0);
        let middle = rounds.swap_remove(rounds.len() / 2);
        Self { seconds_range, not_completed, ..middle }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { killed, in_flight, seconds, repeated_calls, not_completed, .. } = self;
        write!(
            f,
            "{killed} killed, {in_flight} runs in flight: all ended after {seconds:.2} s, {repeated_calls} calls repeated, {not_completed} runs not completed"
        )
    }
}

/// Kills `victim` while `lanes` runs are kept going, starts it anew at once, and starts no more runs.
pub(crate) async fn after_kill(
    driver: &Driver,
    site: &mut Site,
    victim: Role,
    lanes: usize,
) -> anyhow::Result<Recovery> {
    let load = Load::CountedChain;
    let failed_before = site.runs_not_completed(load).await?;
    let goes_on = AtomicBool::new(true);
    let one_after_the_other = async || {
        while goes_on.load(Ordering::Relaxed) {
            // A request that was lost with the coordinator starts no run; the database is asked about those
            // that began.
            if driver.one(load).await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    };
    // An event that was lost with the coordinator wakes no lane; nobody waits for lanes.
    let lanes = async {
        futures::future::join_all((0..lanes).map(|_| one_after_the_other())).await;
        std::future::pending::<anyhow::Result<(i64, f64)>>().await
    };
    let kill = async {
        tokio::time::sleep(LOADED).await;
        goes_on.store(false, Ordering::Relaxed);
        let killed_at = Instant::now();
        site.kill_and_start(victim).await?;
        let in_flight = site.open_runs().await?;
        while site.open_runs().await? > 0 {
            anyhow::ensure!(killed_at.elapsed() < PATIENCE, "runs did not end in {PATIENCE:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        anyhow::Ok((in_flight, killed_at.elapsed().as_secs_f64()))
    };
    let (in_flight, seconds) = tokio::select! {
        ended = kill => ended?,
        never = lanes => never?,
    };
    anyhow::ensure!(in_flight > 0, "nothing was under way when the {} was killed", victim.name());
    let calls = site.calls().context("cannot read the calls")?;
    let distinct: HashSet<&str> = calls.lines().collect();
    let repeated_calls = calls.lines().count() - distinct.len();
    let not_completed = site.runs_not_completed(load).await? - failed_before;
    site.forget_calls()?;
    Ok(Recovery {
        killed: victim.name(),
        in_flight,
        seconds,
        seconds_range: (seconds, seconds),
        repeated_calls,
        not_completed,
    })
}
