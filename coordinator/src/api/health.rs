//! `system.health`: whether the database answers, and what durability is in force.

use std::sync::Arc;
use std::time::Duration;

use sluice_proto::api::HealthResponse;

use super::{Answer, encode};
use crate::coordinator::{Shared, now};
use crate::store::{StoreError, watch};

/// Longest wait for the database.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn handle(shared: &Arc<Shared>) -> Answer {
    let asked = async {
        let mut connection = shared.pool.acquire().await.map_err(StoreError::from)?;
        watch::durability(&mut connection).await
    };
    let durability = match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(Ok(settings)) => Some(settings),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the database did not answer a health check");
            None
        }
        Err(_) => None,
    };
    let connected = durability.is_some();
    let (fsync, synchronous_commit) = durability.unwrap_or_default();
    encode(&HealthResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        database_status: if connected { "connected" } else { "disconnected" }.to_owned(),
        timestamp: now(),
        fsync,
        synchronous_commit,
    })
}
