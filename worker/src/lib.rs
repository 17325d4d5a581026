//! Pulls step commands, runs agents, reports results.

mod agents;

pub use agents::{Agent, AgentsError, AgentsFile, Provider, RuntimeSettings, Schema, Source};
