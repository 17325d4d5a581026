//! An agent as the worker needs it: everything checked, every file read.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;
use sluice_engine::expr::Text;
use sluice_proto::ids::AgentName;

/// One agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its name.
    pub name: AgentName,
    /// It changes the world or spends money.
    pub effects: bool,
    /// It honours the idempotency key.
    pub idempotent: bool,
    /// Longest execution of one attempt.
    pub timeout: Duration,
    /// Attempts that one worker runs at the same time.
    pub concurrency: usize,
    /// What runs it.
    pub runtime: RuntimeSettings,
}

/// What runs an agent, with the settings of that runtime.
#[derive(Clone)]
pub enum RuntimeSettings {
    /// A model.
    Llm {
        /// Prompt and tool guides.
        system: String,
        /// What the answer must be, when that is fixed.
        output_schema: Option<Schema>,
        /// The model, when it is not the default one.
        model: Option<String>,
        /// A block under `providers:`, when it is not the default one.
        provider: Option<String>,
    },
    /// A service.
    Http {
        /// Where.
        url: Url,
    },
    /// A program.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// Where it works; the folder of the agents file when absent.
        workdir: Option<Text>,
        /// Environment variables it sees besides the usual ones.
        env: Vec<String>,
        /// The folder of the agents file.
        base: PathBuf,
        /// It may work only below these.
        roots: Arc<[PathBuf]>,
    },
    /// Somebody else's worker.
    External,
}

/// A JSON Schema, compiled.
#[derive(Clone)]
pub struct Schema {
    pub(crate) document: Arc<Value>,
    pub(crate) validator: Arc<jsonschema::Validator>,
}

/// A block under `providers:`.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Base of its OpenAI-compatible API.
    pub base_url: Url,
    /// Its key.
    pub api_key: Option<SecretString>,
    /// Its model where nobody names one.
    pub model: Option<String>,
}

impl RuntimeSettings {
    /// The name it has in the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Llm { .. } => "llm",
            Self::Http { .. } => "http",
            Self::Command { .. } => "command",
            Self::External => "external",
        }
    }
}

impl fmt::Debug for RuntimeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}
