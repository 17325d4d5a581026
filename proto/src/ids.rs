//! Names of things. Each is a newtype that was checked when it was made, so that a value of it can
//! be used as a subject token, a path segment or a key without another look.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest workflow id, characters.
pub const MAX_WORKFLOW_ID_CHARS: usize = 64;
/// Longest agent name, characters.
pub const MAX_AGENT_NAME_CHARS: usize = 64;
/// Longest worker name, characters: as long as the ids of workers that have none may be.
pub const MAX_WORKER_NAME_CHARS: usize = 128;

/// First path segments of the gateway's own routes: an id that equals one could not be asked for.
pub const RESERVED_WORKFLOW_IDS: [&str; 5] =
    ["execute", "resume", "smart-execute", "status", "templates"];

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not a workflow id.
    #[error(
        "'{0}' is not a workflow id: use 1 to 64 letters, digits, '-' or '_', and no reserved word"
    )]
    Workflow(String),
    /// Not an agent name.
    #[error("'{0}' is not an agent name: use 1 to 64 letters, digits, '-' or '_'")]
    Agent(String),
    /// Not a worker name.
    #[error("'{0}' is not a worker name: use 1 to 128 letters, digits, '-' or '_'")]
    Worker(String),
    /// Not a command id.
    #[error("'{0}' is not a command id: expected <workflow id>:<step path>:<visit>:<attempt>")]
    Command(String),
}

fn is_token(text: &str, max: usize) -> bool {
    !text.is_empty()
        && text.len() <= max
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Id of one run: opaque, safe as a subject token and as a path segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct WorkflowId(String);

impl WorkflowId {
    /// Checks the character set, the length and the reserved words.
    ///
    /// # Errors
    /// Names the text that is no workflow id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if is_token(text, MAX_WORKFLOW_ID_CHARS) && !RESERVED_WORKFLOW_IDS.contains(&text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::Workflow(text.chars().take(80).collect()))
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of an agent type, lower case with `-`: `code_review` and `Code-Review` are `code-review`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct AgentName(String);

impl AgentName {
    /// The reserved agent that asks models for gates and risk assessments.
    pub const LLM: &'static str = "sluice-llm";
    /// The reserved agent that delivers approval requests and notifications.
    pub const NOTIFY: &'static str = "sluice-notify";

    /// Normalises case and `_`, then checks the character set and the length.
    ///
    /// # Errors
    /// Names the text that is no agent name.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let name = text.trim().to_ascii_lowercase().replace('_', "-");
        if is_token(&name, MAX_AGENT_NAME_CHARS) {
            Ok(Self(name))
        } else {
            Err(InvalidId::Agent(text.chars().take(80).collect()))
        }
    }

    /// The agent that asks models for gates and risk assessments.
    #[must_use]
    pub fn llm() -> Self {
        Self(Self::LLM.to_owned())
    }

    /// The agent that delivers approval requests and notifications.
    #[must_use]
    pub fn notify() -> Self {
        Self(Self::NOTIFY.to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of a worker, or of one process that had the name: safe as a subject token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct WorkerName(String);

impl WorkerName {
    /// Checks the character set and the length.
    ///
    /// # Errors
    /// Names the text that is no worker name.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if is_token(text, MAX_WORKER_NAME_CHARS) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::Worker(text.chars().take(160).collect()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names one attempt: `<workflow id>:<step path>:<visit>:<attempt>`, visit and attempt from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct CommandId {
    /// The run.
    pub workflow_id: WorkflowId,
    /// Step ids and indexes joined by `.`; engine work adds a last part of its own (`review.gate`).
    pub step_path: String,
    /// How often the run has entered the step, from 1.
    pub visit: u32,
    /// Execution of this visit, from 1.
    pub attempt: u32,
}

impl CommandId {
    /// Reads the textual form back.
    ///
    /// # Errors
    /// Names the text that is no command id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::Command(text.chars().take(160).collect());
        let mut parts = text.rsplitn(3, ':');
        let attempt = parts.next().and_then(|p| p.parse().ok()).filter(|n| *n > 0);
        let visit = parts.next().and_then(|p| p.parse().ok()).filter(|n| *n > 0);
        let (workflow_id, step_path) =
            parts.next().and_then(|rest| rest.split_once(':')).ok_or_else(invalid)?;
        if step_path.is_empty() {
            return Err(invalid());
        }
        Ok(Self {
            workflow_id: WorkflowId::parse(workflow_id).map_err(|_| invalid())?,
            step_path: step_path.to_owned(),
            visit: visit.ok_or_else(invalid)?,
            attempt: attempt.ok_or_else(invalid)?,
        })
    }

    /// The key an agent passes on to what it changes: the same for every attempt and dispatch of one
    /// visit.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}/{}", self.workflow_id, self.step_path, self.visit)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.workflow_id, self.step_path, self.visit, self.attempt)
    }
}

impl Serialize for CommandId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

macro_rules! text_id {
    ($type:ty) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl std::str::FromStr for $type {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

text_id!(AgentName);
text_id!(CommandId);
text_id!(WorkerName);
text_id!(WorkflowId);

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_ids_survive_a_round_trip() {
        for text in ["hotfix-5d20c1e7:deploy:1:2", "a:for.3.inner.gate:12:1", "x_y-Z:s:1:1"] {
            assert_eq!(CommandId::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_could_not_be_a_subject_or_a_path() {
        for text in ["", "a.b", "a b", "execute", "a/b", "é", &"x".repeat(65)] {
            assert!(WorkflowId::parse(text).is_err(), "{text}");
        }
        for text in ["", "a:b:1", "a:b:0:1", "a:b:1:x", "a::1:1", ":b:1:1", "a.b:c:1:1"] {
            assert!(CommandId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn agent_names_fold_case_and_underscores() {
        assert_eq!(AgentName::parse("Code_Review").unwrap().as_str(), "code-review");
        assert!(AgentName::parse("code review").is_err());
    }
}
