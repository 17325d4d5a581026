//! The template language: loads, checks and describes workflow templates.
//!
//! [`load`] reads a file in three passes. `yaml` makes a tree that knows its places; `lower` reads it
//! with the help of the tables in `keys` and resolves every name and expression; `check` looks at the
//! whole. Each pass reports everything it finds and hands on what it could read, so that one mistake
//! does not hide another.

mod check;
mod context;
mod edges;
mod fields;
mod finding;
mod keys;
mod lower;
mod model;
mod query;
mod schema;
mod summary;
mod target;
mod value;

pub use edges::{Cause, Edge};
pub use finding::{Finding, MAX_FINDINGS, Severity};
pub use model::*;
pub use query::{DEFAULT_LOOP_BUDGET, DEFAULT_RETRIES};
pub use schema::schema;
pub use summary::{EstimatedRisk, Summary, slug, summary};
pub(crate) use target::BRANCH_COMPLETE;
pub use target::{BRANCH_ENDS, ENDS, answer_text, end, normalise_answer};

use crate::yaml;

/// What a file turned out to be.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The template, unless there is an error among the findings.
    pub template: Option<Template>,
    /// Everything there is to say about the file, in file order.
    pub findings: Vec<Finding>,
}

/// Reads and checks a template. `file` is only a name: for messages, and for the template itself.
#[must_use]
pub fn load(file: &str, text: &str) -> Loaded {
    let mut cx = context::Context::new(file, text);
    let (root, problems) = yaml::compose(text);
    let broken = root.is_none() && !problems.is_empty();
    for yaml::Problem { at, message, harmless } in problems {
        let severity = if harmless { Severity::Warning } else { Severity::Error };
        cx.findings.push(severity, at, message, None);
    }
    let lowered = match root.filter(|root| !root.is_null()) {
        Some(root) => lower::lower(&mut cx, &root, file, text),
        None => {
            if !broken {
                cx.findings.error(Position { line: 1, column: 1 }, "the file is empty");
            }
            None
        }
    };
    let template = lowered.map(|lowered| check::check(&mut cx, lowered));
    let failed = cx.findings.failed();
    Loaded { template: template.filter(|_| !failed), findings: cx.findings.into_sorted() }
}

#[cfg(test)]
mod tests;
