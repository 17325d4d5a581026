//! What is wrong with the configuration, where, and what would be right.

use std::path::PathBuf;

use super::Origin;

/// Why the configuration was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid { path: PathBuf, line: u64, column: u64, message: String },
    #[error("{origin}: {key}: '{value}' is not {expected}")]
    WrongType { origin: Origin, key: &'static str, value: String, expected: &'static str },
    #[error("{what_for} needs {variable}; set it in the environment, or `{key}` in sluice.yaml")]
    Missing { variable: &'static str, key: &'static str, what_for: &'static str },
}
