//! Why a gateway cannot start. What a request is answered with is in `failure`.

use std::net::SocketAddr;

/// Why a gateway cannot start; each says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// Something else listens there.
    #[error(
        "port {} for {what} is taken ({addr}); stop what listens there, or choose another with {flag} or {variable}",
        addr.port()
    )]
    PortTaken {
        /// What was to listen.
        what: &'static str,
        /// Where.
        addr: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// The environment variable that changes it.
        variable: &'static str,
    },
    /// The address cannot be used.
    #[error(
        "cannot listen on {addr} for {what}: {source}; choose another with {flag} or {variable}"
    )]
    Listen {
        /// What was to listen.
        what: &'static str,
        /// Where.
        addr: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// The environment variable that changes it.
        variable: &'static str,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A URL, host or origin of the configuration cannot be read.
    #[error("{setting} '{value}' is not {expected}")]
    BadSetting {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}
