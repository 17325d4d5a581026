//! `system.metrics`: this coordinator's counters.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::Answer;
use crate::coordinator::Shared;

#[expect(clippy::unnecessary_wraps, reason = "every verb has the same shape")]
pub(super) fn handle(shared: &Arc<Shared>) -> Answer {
    let mut text = shared.metrics.render();
    let _ = write!(
        text,
        "# HELP sluice_cached_states States of runs kept in memory.\n\
         # TYPE sluice_cached_states gauge\nsluice_cached_states {}\n",
        shared.loader.cached_states()
    );
    Ok(Bytes::from(text))
}
