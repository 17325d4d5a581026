//! A coordinator process: what it remembers, and loses when it crashes.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use sluice_engine::State;

use super::dispatcher::Dispatch;
use super::intake::Working;
use super::item::Item;
use super::world::Process;

#[derive(Default)]
pub(crate) struct Coordinator {
    pub(crate) process: Process,
    /// States as they were after a read or a commit of its own; others may have moved on.
    pub(crate) cache: BTreeMap<usize, Rc<State>>,
    pub(crate) inbox: VecDeque<Item>,
    /// Decided and not yet committed.
    pub(crate) batch: Option<Working>,
    /// A batch is to be read soon.
    pub(crate) is_called: bool,
    pub(crate) outbox: Vec<Dispatch>,
    /// Creation time of the stream as it was last looked at.
    pub(crate) known_stream: i64,
}

impl Coordinator {
    pub(crate) fn crash(&mut self) {
        let process = Process { life: self.process.life + 1, down: true, stopped_until: 0 };
        *self = Self { process, ..Self::default() };
    }
}
