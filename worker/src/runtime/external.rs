//! Agents that somebody else's worker runs.

use std::sync::Arc;

use super::Runtime;

/// Nothing: without a runtime the worker does not even pull, so that it takes no command away from
/// those who can carry it out.
pub(super) fn build() -> Option<Arc<dyn Runtime>> {
    None
}
