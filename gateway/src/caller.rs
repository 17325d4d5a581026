//! Who sends a request, as far as it is known.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use sluice_bus::Actor;

/// The address at the other end of the connection, put into every request by the server.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// On whose behalf the coordinator is asked. Without sign-in nobody has proved anything, so there is
/// only an address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    address: Option<String>,
}

impl Caller {
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            id: "unknown".to_owned(),
            method: "none".to_owned(),
            address: self.address.clone(),
            scopes: Vec::new(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_string());
        Ok(Self { address })
    }
}
