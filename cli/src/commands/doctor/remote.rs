//! Checks that talk to something.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_bus::{ApiCallError, Bus, BusConfig};
use sluice_proto::api::{HealthResponse, verb};

use super::Check;
use crate::client::Client;
use crate::config::{Config, key};
use crate::error::CliError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn gateway(config: &Config) -> Check {
    let name = "gateway";
    let url = config.required(key::URL);
    let health = match Client::new(url) {
        Ok(client) => client.get::<Value>(&["health"], &[]).await,
        Err(error) => return Check::fail(name, error.to_string()),
    };
    match health {
        Ok(health) => Check::ok(
            name,
            format!("{url} answers, version {}", health["version"].as_str().unwrap_or("?")),
        ),
        Err(CliError::Unreachable { .. }) => {
            Check::warn(name, format!("nothing answers at {url}; start it with `sluice dev`"))
        }
        Err(CliError::Refused(error)) => {
            Check::fail(name, format!("{url} answers: {}", error.detail))
        }
        Err(error) => Check::fail(name, error.to_string()),
    }
}

/// NATS, the coordinator behind it, and the database behind that.
pub(super) async fn nats_and_behind(config: &Config) -> Vec<Check> {
    let name = "NATS";
    if !config.is_chosen(key::NATS_URL) {
        return vec![Check::ok(
            name,
            "SLUICE_NATS_URL is not set; `sluice dev` runs a server of its own",
        )];
    }
    let settings = BusConfig {
        connect_timeout: CONNECT_TIMEOUT,
        ..BusConfig::new(
            config.required(key::NATS_URL),
            config.required(key::NATS_PREFIX),
            "doctor",
        )
    };
    match Bus::connect(settings).await {
        Err(error) => vec![Check::fail(name, error.to_string())],
        Ok(bus) => {
            let mut checks =
                vec![Check::ok(name, format!("connected, server {}", bus.server_version()))];
            checks.extend(coordinator(&bus).await);
            checks
        }
    }
}

async fn coordinator(bus: &Bus) -> Vec<Check> {
    let name = "coordinator";
    let answer = match bus.api(verb::SYSTEM_HEALTH, &json!({}), None, ANSWER_TIMEOUT).await {
        Ok(answer) => answer,
        Err(ApiCallError::NoCoordinator) => {
            return vec![Check::warn(name, "none runs; start one with `sluice coordinator`")];
        }
        Err(error) => return vec![Check::fail(name, error.to_string())],
    };
    match serde_json::from_slice::<HealthResponse>(&answer) {
        Ok(health) => {
            vec![Check::ok(name, format!("answers, version {}", health.version)), database(&health)]
        }
        Err(error) => vec![Check::fail(
            name,
            format!("its answer cannot be read: {error}; is its version ours?"),
        )],
    }
}

fn database(health: &HealthResponse) -> Check {
    let name = "database";
    if health.database_status != "connected" {
        return Check::fail(name, "the coordinator cannot reach PostgreSQL; its log says why");
    }
    let found = format!(
        "connected, fsync={}, synchronous_commit={}",
        health.fsync, health.synchronous_commit
    );
    match (health.fsync.as_str(), health.synchronous_commit.as_str()) {
        ("on", "on" | "local" | "remote_write" | "remote_apply") => Check::ok(name, found),
        _ => {
            Check::warn(name, format!("{found}: a crash of its machine can lose what was answered"))
        }
    }
}
