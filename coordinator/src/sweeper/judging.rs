//! Whether leases may be judged: heartbeats get through, tried out on the way that workers' take.
//!
//! A coordinator that is frozen, overloaded or cut off from PostgreSQL still gets its share of the
//! heartbeats, and loses them. The workers that sent them are well, and no other coordinator can tell but
//! by asking.

use std::time::{Duration, Instant};

use sluice_proto::ids::{AgentName, CommandId};
use sluice_proto::message::{Heartbeat, MESSAGE_VERSION};

use super::SweepError;
use crate::coordinator::Shared;
use crate::store::{ACQUIRE_TIMEOUT, attempts};

/// Heartbeats tried out at once: each may go to another coordinator.
const TRIES: usize = 4;
/// Longest wait for their answers, however long a lease is.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Names an attempt that nobody has.
const NOBODY: &str = "hearing:probe:1:1";

/// Since when heartbeats get through, as far as this coordinator can tell. A silent worker is a lost one
/// only after a whole lease in which it could have been heard.
pub(super) struct Judging {
    lease: Duration,
    since: Option<Instant>,
    /// When the sweep under way began.
    begun: Instant,
    is_told: bool,
}

impl Judging {
    pub(super) fn new(lease_ms: u64) -> Self {
        let lease = Duration::from_millis(lease_ms);
        Self { lease, since: None, begun: Instant::now(), is_told: false }
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// A sweep begins, after a pause that was meant to take `meant` and took `slept`. Who slept too long
    /// was frozen, and what came meanwhile is still unread.
    pub(super) fn begins(&mut self, meant: Duration, slept: Duration) {
        self.begun = Instant::now();
        if slept > meant + self.lease / 3 {
            self.since = None;
        }
    }

    /// Whether a lease that is over means that its worker is lost. To be asked after the lease was read:
    /// a server that took its time over it may have kept heartbeats waiting as long.
    pub(super) fn allows(&self) -> bool {
        let whole_lease = self.since.is_some_and(|since| since.elapsed() >= self.lease);
        whole_lease && self.begun.elapsed() <= self.lease / 3
    }

    /// A sweep went through, and heartbeats came through or not.
    pub(super) fn ends(&mut self, works: bool, after_absence: bool) {
        if !works && !self.is_told {
            tracing::warn!("heartbeats are lost on their way; no lease is judged meanwhile");
        }
        self.is_told = !works;
        if !works || self.begun.elapsed() > self.lease / 3 {
            self.since = None;
            return;
        }
        // After an absence, heartbeats may still be held up for as long as a connection takes to come back,
        // here or in another coordinator.
        let held_up = if after_absence { ACQUIRE_TIMEOUT } else { Duration::ZERO };
        self.since = self.since.or_else(|| Some(Instant::now() + held_up));
    }

    /// A sweep failed: NATS or PostgreSQL is away.
    pub(super) fn fails(&mut self) {
        self.since = None;
    }
}

/// Whether a few heartbeats of nobody are all answered well before a lease is over. Without leases there
/// is nothing to hear, and nothing is sent.
pub(super) async fn is_heard(shared: &Shared) -> Result<bool, SweepError> {
    if !attempts::any_leased(&mut *shared.pool.acquire().await?).await? {
        return Ok(true);
    }
    let Ok(command_id) = CommandId::parse(NOBODY) else { return Ok(false) };
    let subject = shared.bus.subjects().heartbeat(&AgentName::notify(), &command_id.workflow_id);
    let heartbeat = Heartbeat {
        v: MESSAGE_VERSION,
        command_id,
        fence: 0,
        worker_id: "coordinator".to_owned(),
        progress: None,
    };
    let body = serde_json::to_vec(&heartbeat).unwrap_or_default();
    let wait = Duration::from_millis(shared.lease_ms / 4).min(MAX_WAIT);
    let tries = (0..TRIES).map(|_| shared.bus.request(subject.as_str(), body.clone(), wait));
    Ok(futures::future::join_all(tries).await.iter().all(Result::is_ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(40);

    /// One that has heard for a whole lease.
    fn judge() -> Judging {
        let mut judging = Judging::new(40);
        judging.since = Instant::now().checked_sub(LEASE);
        judging.begins(LEASE, LEASE);
        judging
    }

    #[test]
    fn leases_are_judged_after_one_in_which_everything_came_through() {
        let mut judging = Judging::new(40);
        judging.begins(LEASE, LEASE);
        judging.ends(true, false);
        assert!(!judging.allows(), "too soon");
        std::thread::sleep(LEASE);
        judging.begins(LEASE, LEASE);
        assert!(judging.allows());
    }

    #[test]
    fn nobody_is_judged_after_something_was_lost_or_held_up() {
        assert!(judge().allows());
        let mut frozen = judge();
        frozen.begins(LEASE, LEASE * 2);
        assert!(!frozen.allows());
        let mut lost = judge();
        lost.ends(false, false);
        assert!(!lost.allows());
        let mut away = judge();
        away.fails();
        assert!(!away.allows());
        let mut slow = judge();
        slow.begun -= LEASE;
        assert!(!slow.allows());
        slow.ends(true, false);
        slow.begins(LEASE, LEASE);
        assert!(!slow.allows());
    }
}
