//! Events before they are numbered, chained and signed.

use sluice_proto::event::EventBody;

/// A fact that has just become true.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// The step it is about, or the path of engine work around it.
    pub step: Option<String>,
    /// What happened.
    pub body: EventBody,
}

impl NewEvent {
    /// A fact about a step.
    pub(crate) fn of(step: &str, body: EventBody) -> Self {
        Self { step: Some(step.to_owned()), body }
    }
}
