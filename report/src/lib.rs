//! The audit report of a run as a PDF: what happened, who decided, and whether the record is what was written.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let verification: sluice_proto::api::VerifyResponse = serde_json::from_str("{}")?;
//! let events: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read("run.json")?)?;
//! let bytes = sluice_report::pdf(&events, &verification, None)?;
//! # Ok(()) }
//! ```
//!
//! `events` is an export in JSON, `verification` what [`sluice_proto::verify`] made of that run. A report takes
//! seconds of one core: call it where blocking is allowed. The same input gives the same bytes. What agents
//! and people wrote is data to the template, never source. This is the only crate that knows Typst.

mod chart;
mod model;
mod sections;
mod text;
mod world;

use serde_json::{Value, json};
use sluice_proto::api::VerifyResponse;
use sluice_proto::verify::Verdict;

/// The template in force when none is given; a copy of it is where restyling begins.
pub const DEFAULT_TEMPLATE: &str = include_str!("../template/report.typ");

/// Events in one report.
pub const MAX_EVENTS: usize = 10_000;
/// Bytes of a template.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record that would take too long and too much memory.
    #[error(
        "a report holds at most {MAX_EVENTS} events, and this run has {0}; export it as json or csv"
    )]
    TooLarge(usize),
    /// There is nothing to report about.
    #[error("the record holds no event")]
    Empty,
    /// The template is at fault.
    #[error("the report's template: {0}")]
    Template(String),
}

/// What a template gets as `/report.json`. Its `verdict` is `intact`, `unsigned` (the chain is whole, and nobody has
/// looked at the signatures) or `tampered`. The chain of `events` is followed once more here, so that a verdict
/// about other events than these does not count for them.
#[must_use]
pub fn data(events: &[Value], verification: &VerifyResponse) -> Value {
    model::report(events, verification)
}

/// The report of a run, set with `template` (Typst source that reads `/report.json` and can read nothing else)
/// or with [`DEFAULT_TEMPLATE`].
///
/// # Errors
/// The record is empty or too large, or the template cannot be set.
pub fn pdf(
    events: &[Value],
    verification: &VerifyResponse,
    template: Option<&str>,
) -> Result<Vec<u8>, Error> {
    match events.len() {
        // A record that was emptied is reported as what it is.
        0 if verification.valid => return Err(Error::Empty),
        many if many > MAX_EVENTS => return Err(Error::TooLarge(many)),
        _ => {}
    }
    let template = template.unwrap_or(DEFAULT_TEMPLATE);
    world::render(template, &data(events, verification))
}

/// Whether a short report can be set with this template, under each verdict.
///
/// # Errors
/// It cannot.
pub fn check(template: &str) -> Result<(), Error> {
    let start = json!({"action": "start_workflow", "sequence": 1, "timestamp": "2024-01-15T10:00:00Z", "data": {}});
    let verdict = Verdict::default();
    let verification =
        VerifyResponse { workflow_id: "a".to_owned(), valid: true, verdict, checkpointed: None };
    let mut data = data(&[start], &verification);
    for verdict in ["intact", "unsigned", "tampered"] {
        data["verdict"] = verdict.into();
        world::render(template, &data)?;
    }
    Ok(())
}
