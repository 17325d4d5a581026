//! Listening, accepting, stopping.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Service};
use crate::caller::Peer;
use crate::config::{GatewayConfig, Limits};
use crate::error::GatewayError;
use crate::routes;

/// Wait after the operating system refused a connection, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A gateway that serves until it is stopped or dropped.
#[derive(Debug)]
pub struct Gateway {
    addr: SocketAddr,
    state_addr: SocketAddr,
    stopping: CancellationToken,
    servers: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Listens on both addresses. Requests are answered from now on, also while NATS is away.
    ///
    /// # Errors
    /// An address that cannot be listened on, or a setting that cannot be read.
    pub async fn start(config: GatewayConfig) -> Result<Self, GatewayError> {
        let main =
            bind(config.addr, "the gateway", "--gateway-addr", "SLUICE_GATEWAY_ADDR").await?;
        let state =
            bind(config.state_addr, "the state service", "--state-addr", "SLUICE_STATE_ADDR")
                .await?;
        let (addr, state_addr) = (local(&main, config.addr), local(&state, config.state_addr));
        let stopping = CancellationToken::new();
        let app = App::new(config, stopping.clone())?;
        let serve = |listener, service| {
            let server = Server::new(routes::router(&app, service), app.limits.clone());
            tokio::spawn(server.run(listener, stopping.clone()))
        };
        let servers =
            vec![serve(main, Service::Orchestrator), serve(state, Service::StatePersistence)];
        tracing::info!(%addr, %state_addr, "gateway listens");
        Ok(Self { addr, state_addr, stopping, servers })
    }

    /// Where every route is served.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the reading routes are served.
    #[must_use]
    pub fn state_addr(&self) -> SocketAddr {
        self.state_addr
    }

    /// Takes no more connections, lets requests under way finish within the stop timeout, and
    /// returns when every connection is closed.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        for server in self.servers.drain(..) {
            if let Err(error) = server.await {
                tracing::error!(%error, "the gateway's server ended badly");
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

async fn bind(
    addr: SocketAddr,
    what: &'static str,
    flag: &'static str,
    variable: &'static str,
) -> Result<TcpListener, GatewayError> {
    TcpListener::bind(addr).await.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => GatewayError::PortTaken { what, addr, flag, variable },
        _ => GatewayError::Listen { what, addr, flag, variable, source },
    })
}

fn local(listener: &TcpListener, wanted: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(wanted)
}

/// One address.
struct Server {
    router: Router,
    limits: Limits,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
    /// Ends connections that outlast the stop timeout.
    kill: CancellationToken,
}

impl Server {
    fn new(router: Router, limits: Limits) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        Self {
            router,
            limits,
            places,
            graceful: GracefulShutdown::new(),
            kill: CancellationToken::new(),
        }
    }

    async fn run(self, listener: TcpListener, stopping: CancellationToken) {
        stopping.run_until_cancelled(self.accept_all(&listener)).await;
        drop(listener);
        if tokio::time::timeout(self.limits.stop_timeout, self.graceful.shutdown()).await.is_err() {
            tracing::warn!("requests outlasted the stop timeout and were cut off");
            self.kill.cancel();
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, place),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let inner = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            inner.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.graceful.watch(connection);
        let kill = self.kill.clone();
        tokio::spawn(async move {
            let _place = place;
            // What ends a connection early is the client's business.
            if let Some(Err(error)) = kill.run_until_cancelled(connection).await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }
}
