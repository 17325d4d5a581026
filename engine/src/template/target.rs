//! Names that an edge can lead to without a step of that name.

use indexmap::IndexMap;
use serde_json::Value;

use super::finding::nearest;
use super::model::{End, Outcome, Position, Target};

/// What the well-known names do to a run.
pub const ENDS: [(&str, Outcome); 7] = [
    ("notify_failure", Outcome::Failed),
    ("notify_rollback", Outcome::RolledBack),
    ("notify_success", Outcome::Completed),
    ("notify_test_failure", Outcome::Failed),
    ("workflow_complete", Outcome::Completed),
    ("workflow_failed", Outcome::Failed),
    ("workflow_paused", Outcome::Paused),
];

/// The virtual target of a well-known name.
#[must_use]
pub fn end(name: &str) -> Option<End> {
    let (name, outcome) = ENDS.into_iter().find(|(known, _)| *known == name)?;
    Some(End { name: name.to_owned(), outcome })
}

/// Plain failure; also stands in for a target that could not be read.
pub(super) fn failed_end() -> End {
    End { name: "workflow_failed".to_owned(), outcome: Outcome::Failed }
}

/// The end of a run where no target is named.
pub(super) fn complete_end() -> End {
    End { name: "workflow_complete".to_owned(), outcome: Outcome::Completed }
}

/// The form in which an answer of a gate and its `on_<answer>` key are compared: lower case, without
/// space around it, with `_` for spaces and `-` inside.
#[must_use]
pub fn normalise_answer(text: &str) -> String {
    text.trim().to_lowercase().replace([' ', '-'], "_")
}

/// The answer that a value stands for; only texts and truth values can be one.
#[must_use]
pub fn answer_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(normalise_answer(text)),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Every name that an edge of one file can lead to.
#[derive(Default)]
pub(super) struct Targets {
    /// Step ids in file order, and where each is.
    pub(super) steps: IndexMap<String, Position>,
    /// Triggers of the notifications.
    pub(super) triggers: Vec<String>,
}

impl Targets {
    /// A step goes before a well-known name: a file may have a step called `notify_rollback`.
    pub(super) fn resolve(&self, name: &str) -> Option<Target> {
        if self.steps.contains_key(name) {
            return Some(Target::Step(name.to_owned()));
        }
        let outcome = || trigger_outcome(name);
        let trigger = || {
            let known = self.triggers.iter().any(|trigger| trigger == name);
            known.then(|| End { name: name.to_owned(), outcome: outcome() })
        };
        end(name).or_else(trigger).map(Target::End)
    }

    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let steps = self.steps.keys().map(String::as_str);
        let triggers = self.triggers.iter().map(String::as_str);
        nearest(name, steps.chain(ENDS.iter().map(|(name, _)| *name)).chain(triggers))
    }

    pub(super) fn nearest_step(&self, name: &str) -> Option<String> {
        nearest(name, self.steps.keys().map(String::as_str))
    }
}

/// A trigger that is not well known tells by its name what it announces.
fn trigger_outcome(name: &str) -> Outcome {
    if name.contains("rollback") {
        Outcome::RolledBack
    } else if name.contains("success") || name.contains("complete") {
        Outcome::Completed
    } else {
        Outcome::Failed
    }
}
