//! What a coordinator is started with.

use std::path::PathBuf;

use sluice_bus::Bus;
use sluice_proto::agents::AgentCatalogue;

use crate::checkpoints::CheckpointConfig;

/// Settings of one coordinator.
pub struct CoordinatorConfig {
    /// Connection to NATS.
    pub bus: Bus,
    /// PostgreSQL as the run-time role.
    pub database_url: String,
    /// PostgreSQL as the owner of the schema, for migrations; the run-time role when absent.
    pub database_owner_url: Option<String>,
    /// Where templates come from.
    pub templates: TemplateSource,
    /// What is known of the agents.
    pub agents: AgentCatalogue,
    /// Signs events; at least 32 bytes.
    pub event_secret: Vec<u8>,
    /// Secrets that signed events before, at least 32 bytes each: their events are still checked.
    pub retired_event_secrets: Vec<Vec<u8>>,
    /// Signed lines about how far runs have come; none: no checkpoints are made.
    pub checkpoints: Option<CheckpointConfig>,
    /// How long a worker may be silent, milliseconds.
    pub lease_ms: u64,
    /// A running run that nothing happens to for so long is marked as failed, milliseconds; none: never.
    pub workflow_ttl_ms: Option<u64>,
    /// Name of this process in logs.
    pub instance: String,
}

/// Where templates come from.
#[derive(Clone, Debug)]
pub enum TemplateSource {
    /// `*.workflow.yaml` files of a folder, read again when they change.
    Dir(PathBuf),
    /// Texts compiled into the program: file name and text.
    Embedded(&'static [(&'static str, &'static str)]),
}
