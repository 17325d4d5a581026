//! The only crate that knows NATS: connect, topology, request, publish, deliveries.
//!
//! What it promises upwards: every wait ends (a queue that is full, a server that is away and a reply
//! that never comes are all errors after a time), streams and consumers come back by themselves, and
//! no more messages are taken from a queue than the caller has room for.

mod advisory;
mod api;
mod command;
mod connection;
mod delivery;
mod error;
mod pull;
mod serve;
mod service;
mod step;
mod topology;
mod url;

pub use advisory::{Advisories, Advisory, GivenUp, LyingMessage};
pub use api::{Actor, ApiCallError};
pub use command::CommandPuller;
pub use connection::{Bus, BusConfig, StreamSettings};
pub use delivery::Delivery;
pub use error::BusError;
pub use serve::{Message, Request, Requests, Subscription};
pub use service::{ApiRequest, ApiService};
pub use step::{LaneView, Published, StepMessage, StepPuller};
