//! The file as a whole.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use indexmap::IndexMap;
use sluice_proto::agents::{AgentCatalogue, AgentTraits};
use sluice_proto::ids::AgentName;

use super::entry::{Agent, Provider};
use super::error::AgentsError;
use super::prompts::{self, Prompt};
use super::read;

/// Largest file that is read: the agents file, a prompt, a schema.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Everything an `agents.yaml` says.
#[derive(Clone, Debug, Default)]
pub struct AgentsFile {
    pub(crate) agents: IndexMap<AgentName, Agent>,
    pub(crate) providers: BTreeMap<String, Provider>,
}

/// Where the text of an `agents.yaml` comes from, and where what it names comes from.
pub struct Source<'a> {
    /// The text.
    pub text: &'a str,
    /// How messages name it.
    pub file: &'a str,
    /// What relative paths are relative to.
    pub base: &'a Path,
    /// Looks up a `${NAME}`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file that it names; templates that come with the binary are not on disk.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl AgentsFile {
    /// Reads a file and everything it names, with the environment of this process.
    ///
    /// # Errors
    /// Names the place of the first thing that is wrong.
    pub fn load(path: &Path) -> Result<Self, AgentsError> {
        on_disk(path, Self::from_source)
    }

    /// Reads `text` as if it lay in `base`.
    ///
    /// # Errors
    /// As [`AgentsFile::load`].
    pub fn parse(
        text: &str,
        base: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, AgentsError> {
        Self::from_source(&Source { text, file: "agents.yaml", base, env, read: &read_bounded })
    }

    /// Reads a text from anywhere.
    ///
    /// # Errors
    /// As [`AgentsFile::load`].
    pub fn from_source(source: &Source<'_>) -> Result<Self, AgentsError> {
        read::agents_file(source)
    }

    /// What the prompts of the models in `source` are made of; nothing else of it is checked.
    ///
    /// # Errors
    /// As [`AgentsFile::load`]; a prompt's file that cannot be read is none.
    pub fn prompts(source: &Source<'_>) -> Result<Vec<Prompt>, AgentsError> {
        prompts::prompts(source)
    }

    /// The same of a file.
    ///
    /// # Errors
    /// As [`AgentsFile::prompts`].
    pub fn load_prompts(path: &Path) -> Result<Vec<Prompt>, AgentsError> {
        on_disk(path, prompts::prompts)
    }

    /// What the engine must know about the agents.
    #[must_use]
    pub fn catalogue(&self) -> AgentCatalogue {
        let traits = |agent: &Agent| AgentTraits {
            effects: agent.effects,
            idempotent: agent.idempotent,
            timeout_ms: u64::try_from(agent.timeout.as_millis()).unwrap_or(u64::MAX),
        };
        AgentCatalogue::new(
            self.agents.values().map(|agent| (agent.name.clone(), traits(agent))).collect(),
        )
    }

    /// The agents in the order of the file.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }
}

/// Hands on a file with the environment of this process.
fn on_disk<T>(
    path: &Path,
    read: impl FnOnce(&Source<'_>) -> Result<T, AgentsError>,
) -> Result<T, AgentsError> {
    let unreadable = |error: io::Error| AgentsError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let text = read_bounded(path).map_err(unreadable)?;
    let full = std::path::absolute(path).map_err(unreadable)?;
    read(&Source {
        text: &text,
        file: &path.display().to_string(),
        base: full.parent().unwrap_or(Path::new("/")),
        env: &|name| std::env::var(name).ok(),
        read: &read_bounded,
    })
}

/// Reads a file that is text and not too large.
pub(crate) fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}
