//! Deliberate breaks of the protocol: a simulation that does not notice them proves nothing.

use sluice_engine::attempt::{AttemptRow, Lane, Verdict};
use sluice_proto::message::Refusal;
use sluice_proto::timestamp::Timestamp;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breakage {
    /// Heartbeats and results count whatever their fence.
    NoFence,
    /// Nothing is ever published a second time.
    NoRedispatch,
    /// Leases last for ever.
    NoLeaseExpiry,
    /// A result counts for whatever the step waits for now, also one of a settled attempt.
    AnyResult,
    /// Whatever was published and is not finished is published again.
    RedispatchSlow,
    /// A run that pauses gives its locks away.
    LockReleasedAtPause,
    /// Every claim is granted.
    ClaimGrantedToAnybody,
    /// A worker begins on a grant whose lease is over by the time it arrives.
    StaleGrantTaken,
    /// The end of a child does not reach its parent.
    ParentNotTold,
    /// Children of a parent that waits no longer go on.
    ChildrenLeft,
}

impl Breakage {
    pub(crate) const ALL: [Self; 10] = [
        Self::NoFence,
        Self::NoRedispatch,
        Self::NoLeaseExpiry,
        Self::AnyResult,
        Self::RedispatchSlow,
        Self::LockReleasedAtPause,
        Self::ClaimGrantedToAnybody,
        Self::StaleGrantTaken,
        Self::ParentNotTold,
        Self::ChildrenLeft,
    ];
}

pub(crate) fn claim(
    breakage: Option<Breakage>,
    row: &AttemptRow,
    fence: u64,
    worker: &str,
    now: Timestamp,
) -> Result<AttemptRow, Refusal> {
    if breakage == Some(Breakage::ClaimGrantedToAnybody) {
        let free = AttemptRow { claimed: false, ..row.clone() };
        return free.claim(row.fence, worker, now);
    }
    row.claim(fence, worker, now)
}

pub(crate) fn heartbeat(
    breakage: Option<Breakage>,
    row: &AttemptRow,
    fence: u64,
    worker: &str,
    now: Timestamp,
) -> Result<AttemptRow, Refusal> {
    let fence = if breakage == Some(Breakage::NoFence) { row.fence } else { fence };
    row.heartbeat(fence, worker, now)
}

pub(crate) fn accept(
    breakage: Option<Breakage>,
    row: &AttemptRow,
    fence: u64,
) -> Result<(), Refusal> {
    match breakage {
        Some(Breakage::NoFence | Breakage::AnyResult) => Ok(()),
        _ => row.accept(fence),
    }
}

pub(crate) fn sweep(
    breakage: Option<Breakage>,
    row: &AttemptRow,
    lane: &Lane,
    now: Timestamp,
) -> Verdict {
    let verdict = row.sweep(Some(lane), now);
    match breakage {
        Some(Breakage::NoRedispatch)
            if matches!(verdict, Verdict::Redispatch(_) | Verdict::Publish) =>
        {
            Verdict::Keep
        }
        Some(Breakage::NoLeaseExpiry) if row.lease_until.is_some() => Verdict::Keep,
        Some(Breakage::RedispatchSlow) if row.published.is_some() && verdict == Verdict::Keep => {
            Verdict::Redispatch(AttemptRow {
                dispatch: row.dispatch + 1,
                published: None,
                ..row.clone()
            })
        }
        _ => verdict,
    }
}
