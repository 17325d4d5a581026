//! What is wrong, or odd, in a template file.

use std::fmt;

use serde::Serialize;

use super::model::Position;

/// Most findings reported for one file.
pub const MAX_FINDINGS: usize = 200;
/// Longest piece of a file that a message repeats, characters.
const MAX_QUOTED_CHARS: usize = 60;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The template cannot be run.
    Error,
    /// The template can be run, but probably not as meant.
    Warning,
}

/// One remark about one place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file as it was named to the loader.
    pub file: String,
    /// Where in the file.
    pub at: Position,
    /// What is wrong, readable alone.
    pub message: String,
    /// The valid name closest to the one that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, message, .. } = self;
        write!(f, "{file}:{}:{}: {message}", at.line, at.column)?;
        match &self.nearest {
            Some(name) => write!(f, ", did you mean '{name}'?"),
            None => Ok(()),
        }
    }
}

/// Collects findings in any order.
pub(super) struct Findings {
    file: String,
    list: Vec<Finding>,
    failed: bool,
}

impl Findings {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new(), failed: false }
    }

    pub(super) fn error(&mut self, at: Position, message: impl Into<String>) {
        self.push(Severity::Error, at, message.into(), None);
    }

    pub(super) fn warning(&mut self, at: Position, message: impl Into<String>) {
        self.push(Severity::Warning, at, message.into(), None);
    }

    pub(super) fn push(
        &mut self,
        severity: Severity,
        at: Position,
        message: String,
        nearest: Option<String>,
    ) {
        self.failed |= severity == Severity::Error;
        self.list.push(Finding { severity, file: self.file.clone(), at, message, nearest });
    }

    /// True once there was an error.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// All of them in file order. Of too many, warnings are left out before errors.
    pub(super) fn into_sorted(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|finding| (finding.at, finding.severity));
        self.list.dedup();
        let hidden = self.list.len().saturating_sub(MAX_FINDINGS);
        if hidden > 0 {
            self.list.sort_by_key(|finding| finding.severity);
            self.list.truncate(MAX_FINDINGS);
            self.list.sort_by_key(|finding| (finding.at, finding.severity));
            let at = self.list.last().map_or_else(Position::default, |finding| finding.at);
            let severity = if self.failed { Severity::Error } else { Severity::Warning };
            self.push(severity, at, format!("{hidden} more findings are not shown"), None);
        }
        self.list
    }
}

/// The candidate that a typing error turned into `name`, if any is close enough.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // In a name of one or two characters every other one would be close.
    let allowed = match name.chars().count() {
        0..3 => return None,
        length => length / 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// A piece of the file in quotes, short enough for a message.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTED_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("'{}'", shown.replace('\n', " "))
}
