//! Pulls step commands, runs agents, reports results.
//!
//! A worker owes the engine three things: it starts nothing it was not granted, it acknowledges a command
//! only after the coordinator has recorded the result, and it never takes a failure for an answer.

mod agents;
mod channel;
mod executor;
mod roster;
mod runtime;
mod worker;

pub use agents::{
    Agent, AgentsError, AgentsFile, Prompt, PromptFile, Provider, RuntimeSettings, Schema, Source,
};
pub use roster::Naming;
pub use runtime::{Function, LlmSettings};
pub use worker::{Worker, WorkerConfig, WorkerError};
