//! Drives the engine: store, intake, dispatcher, sweeper, api.
//!
//! Any number of coordinators work side by side without a leader: whatever they write is checked
//! against the run's sequence, and an attempt against its fence.

mod api;
mod burials;
mod checkpoints;
mod cloud_event;
mod commands;
mod config;
mod coordinator;
mod dispatcher;
mod hearing;
mod intake;
mod leases;
mod library;
mod loader;
mod metrics;
mod record;
mod roster;
mod snapshot;
mod store;
mod sweeper;

pub use checkpoints::{CheckpointConfig, CheckpointSink};
pub use config::{CoordinatorConfig, TemplateSource};
pub use coordinator::{Coordinator, StartError};
pub use record::{RecordStore, RestoreError, Restored, StoredRecord};
pub use store::StoreError;
