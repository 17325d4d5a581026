//! HTTP to messages: one file a subject.
//!
//! The gateway translates and decides nothing: it checks that a request is well formed and comes
//! from where it may come from, asks the coordinator over NATS, and passes the answer's bytes on.
//! It owns no state, so any number of them may run.

mod app;
mod body;
mod caller;
mod config;
mod coordinator;
mod error;
mod failure;
mod guard;
mod metrics;
mod openapi;
mod origin;
mod query;
mod request_id;
mod routes;
mod server;

pub use config::{GatewayConfig, Limits};
pub use error::GatewayError;
pub use openapi::document as openapi;
pub use server::Gateway;
