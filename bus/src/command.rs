//! API commands, fire and forget: accepted while no coordinator runs.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::connection::Bus;
use crate::delivery::Delivery;
use crate::error::BusError;
use crate::pull::{Lane, Puller};
use crate::step::{Published, message, stored};
use crate::topology::{StreamKind, command_consumer};

const ACK_TIMEOUT: Duration = Duration::from_secs(5);

impl Bus {
    /// Leaves a command for a coordinator, now or later. A deleted stream is made anew.
    ///
    /// # Errors
    /// The server did not confirm that it has it.
    pub async fn publish_command(
        &self,
        verb: &str,
        body: impl Into<Bytes>,
        message_id: &str,
    ) -> Result<Published, BusError> {
        let body = body.into();
        match self.try_publish_command(verb, body.clone(), message_id).await {
            Err(BusError::StreamMissing) => {
                self.ensure_stream(StreamKind::Commands).await?;
                self.try_publish_command(verb, body, message_id).await
            }
            result => result,
        }
    }

    async fn try_publish_command(
        &self,
        verb: &str,
        body: Bytes,
        message_id: &str,
    ) -> Result<Published, BusError> {
        let ack = self.send(self.subjects().command(verb), message(message_id, body)).await?;
        stored(ack, Instant::now() + ACK_TIMEOUT).await
    }

    /// Takes API commands, shared with every other coordinator.
    #[must_use]
    pub fn command_puller(&self) -> CommandPuller {
        let lane = Lane::new(StreamKind::Commands, command_consumer(self.subjects()));
        CommandPuller(Puller::new(self, vec![lane]))
    }
}

/// Takes API commands.
pub struct CommandPuller(Puller);

impl CommandPuller {
    /// Up to `max` commands: what lies there, or the first to come within `wait`, else none. May be
    /// dropped half-way.
    ///
    /// # Errors
    /// A missing stream or consumer could not be made anew, or the server does not answer.
    pub async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        self.0.next(max, wait).await
    }

    /// There is no room any more: what arrives from now on is handed back at once.
    pub fn pause(&mut self) {
        self.0.pause();
    }
}
