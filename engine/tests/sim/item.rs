//! What the intake is given.

use std::rc::Rc;

use sluice_engine::attempt::{AttemptRow, Loss};
use sluice_engine::{Input, Report};

use super::database::Key;

/// Something for the intake.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) run: usize,
    pub(crate) work: Work,
    pub(crate) reply_to: ReplyTo,
}

#[derive(Clone)]
pub(crate) enum Work {
    /// The engine's input as it is.
    Given(Input),
    Result {
        key: Key,
        fence: u64,
        worker: Rc<str>,
        report: Rc<Report>,
    },
    /// With the row in which the loss was seen.
    Lost {
        key: Key,
        row: Rc<AttemptRow>,
        loss: Loss,
    },
}

#[derive(Clone, Copy)]
pub(crate) enum ReplyTo {
    Nobody,
    Worker { who: usize, life: u32, job: u64 },
}
