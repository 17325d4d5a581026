//! The gateway against a real NATS and a coordinator that follows a script.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod away;
mod harness;
mod openapi;
mod refusals;
mod routes;
