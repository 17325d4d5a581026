//! Whether claims and heartbeats get through to this coordinator.
//!
//! A coordinator that is behind, or whose database is, hears of living workers too late. It must not take
//! them for lost because of that.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When they last did not get through in time.
#[derive(Debug, Default)]
pub(crate) struct Hearing(Mutex<Option<Instant>>);

impl Hearing {
    /// Something that a worker said was lost, or written too late.
    pub(crate) fn has_failed(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether that has happened within `time` from now.
    pub(crate) fn failed_within(&self, time: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < time)
    }
}
