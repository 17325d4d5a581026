//! What is wrong with an `agents.yaml`, and where.

use std::fmt;
use std::path::PathBuf;

use serde_saphyr::{Error, Location, UserMessageFormatter};

/// Why an `agents.yaml` was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// The file itself cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Something in it is wrong.
    #[error("{file}:{line}:{column}: {message}")]
    Invalid {
        /// The file as it was named.
        file: String,
        /// From 1; 0 when the place is unknown.
        line: u64,
        /// From 1; 0 when the place is unknown.
        column: u64,
        /// What is wrong, and what would be right.
        message: String,
    },
}

impl AgentsError {
    pub(crate) fn at(file: &str, place: Location, message: impl fmt::Display) -> Self {
        Self::Invalid {
            file: file.to_owned(),
            line: place.line(),
            column: place.column(),
            message: message.to_string(),
        }
    }

    pub(crate) fn yaml(file: &str, error: &Error) -> Self {
        let error = error.without_snippet();
        let message = match error {
            Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
            other => plain_text(other),
        };
        Self::at(file, error.location().unwrap_or(Location::UNKNOWN), message)
    }
}

/// `unknown key 'promt', did you mean 'prompt'?`, or the valid ones when none is near.
pub(crate) fn unknown(what: &str, name: &str, valid: &[&str]) -> String {
    match nearest(name, valid) {
        Some(near) => format!("unknown {what} '{name}', did you mean '{near}'?"),
        None => format!("unknown {what} '{name}'; valid are {}", valid.join(", ")),
    }
}

pub(crate) fn nearest<'a>(name: &str, valid: &[&'a str]) -> Option<&'a str> {
    let distance = |candidate: &&&str| strsim::damerau_levenshtein(name, candidate);
    valid.iter().min_by_key(distance).filter(|near| distance(near) <= 1 + name.len() / 3).copied()
}

/// The library's message without the place, which stands in front already.
fn plain_text(error: &Error) -> String {
    let text = error.render_with_formatter(&UserMessageFormatter);
    let line = text.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or(line).trim_start_matches("error: ").to_owned()
}
