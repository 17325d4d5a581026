//! `agents.yaml`: who can be asked, and how.

mod duration;
mod entry;
mod error;
mod file;
mod prompts;
mod read;

pub use entry::{Agent, Provider, RuntimeSettings, Schema};
pub use error::AgentsError;
pub(crate) use error::nearest;
pub use file::{AgentsFile, Source};
pub use prompts::{Prompt, PromptFile};
