//! The harness of the end-to-end tests: real NATS, real PostgreSQL, one pair a test binary, one
//! database and one subject prefix a test.
//!
//! ```no_run
//! use sluice_tests::{World, run};
//!
//! run(async {
//!     let world = World::builder().template("hello", "name: Hello …").start().await;
//!     let id = world.execute("hello", serde_json::json!({})).await;
//!     world.wait_for(&id, "completed").await;
//!     world.stop().await;
//! });
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on must stop"
)]

pub mod agents;
pub mod growth;
pub mod processes;
mod servers;
mod world;

pub use servers::{database, database_on, durable_servers, run, servers};
pub use world::{PATIENCE, SECRET, World, WorldBuilder};
