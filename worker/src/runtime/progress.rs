//! Lines worth showing while an agent runs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines kept between two heartbeats; older ones give way.
const MAX_LINES: usize = 40;
const MAX_LINE_CHARS: usize = 400;

/// Collects lines until the next heartbeat takes them along. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Progress {
    pub(crate) fn line(&self, line: &str) {
        let line: String = line.chars().filter(|c| !c.is_control()).take(MAX_LINE_CHARS).collect();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == MAX_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}
