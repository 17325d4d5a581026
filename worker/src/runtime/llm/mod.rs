//! Agents that are models, and the questions the engine itself asks of one.

mod agent;
mod chat;
mod extract;
mod models;
mod question;

pub(crate) use agent::LlmRuntime;
pub use models::LlmSettings;
pub(crate) use models::Models;
pub(crate) use question::QuestionRuntime;
