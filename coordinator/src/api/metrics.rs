//! `system.metrics`: this coordinator's counters.

use std::sync::Arc;

use bytes::Bytes;

use super::Answer;
use crate::coordinator::Shared;

#[expect(clippy::unnecessary_wraps, reason = "every verb has the same shape")]
pub(super) fn handle(shared: &Arc<Shared>) -> Answer {
    Ok(Bytes::from(shared.metrics.render()))
}
