//! What an operator chooses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_bus::Bus;

/// How a gateway is started. Construct with [`GatewayConfig::new`] and change fields.
#[derive(Clone)]
pub struct GatewayConfig {
    /// How coordinators are reached.
    pub bus: Bus,
    /// Where every route is served.
    pub addr: SocketAddr,
    /// Where the reading routes are served, and no others.
    pub state_addr: SocketAddr,
    /// How the outside world calls this gateway, for example `https://sluice.example.com`. Its host
    /// and its origin are accepted.
    pub public_url: Option<String>,
    /// Further hosts that requests may name, with or without a port.
    pub allowed_hosts: Vec<String>,
    /// Further origins whose pages may send requests, for example `https://portal.example.com`.
    pub allowed_origins: Vec<String>,
    /// What reports look like, Typst source that [`sluice_report::check`] has accepted; the built-in one when absent.
    pub report_template: Option<Arc<str>>,
    /// Bounds.
    pub limits: Limits,
}

impl GatewayConfig {
    /// A gateway for this machine only.
    #[must_use]
    pub fn new(bus: Bus, addr: SocketAddr, state_addr: SocketAddr) -> Self {
        Self {
            bus,
            addr,
            state_addr,
            public_url: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            report_template: None,
            limits: Limits::default(),
        }
    }
}

/// Bounds of a gateway.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest body, bytes. What NATS carries in one message bounds it as well.
    pub body_bytes: usize,
    /// Requests under way; one more is answered 429.
    pub requests: usize,
    /// Open connections on each address; one more waits to be accepted.
    pub connections: usize,
    /// Runs followed at the same time; one more is answered 429.
    pub followers: usize,
    /// Reports in PDF that are asked for at the same time; one more is answered 429.
    pub reports: usize,
    /// How long a coordinator may take for an answer.
    pub answer_timeout: Duration,
    /// How long a client may take for its headers.
    pub header_timeout: Duration,
    /// How long a client may take for its body.
    pub body_timeout: Duration,
    /// How long requests under way may take when the gateway stops.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: usize::MAX,
            requests: 1_024,
            connections: 4_096,
            followers: 256,
            reports: 16,
            answer_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
        }
    }
}
