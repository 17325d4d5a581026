//! A TCP link that can be hurt: cut, slowed down, half open, reset.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Bytes forwarded at once.
const CHUNK: usize = 64 * 1024;
/// Connections the kernel holds for us.
const BACKLOG: u32 = 1_024;

/// How the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Everything passes.
    Up,
    /// What was open was closed, and nobody can connect.
    Cut,
    /// Everything passes this much later.
    Slow(Duration),
    /// Connections are accepted and stay open, and nothing passes. What was sent meanwhile passes when
    /// the link is up again.
    HalfOpen,
    /// Only what the server says passes.
    Mute,
    /// Only what the client says passes.
    Deaf,
}

impl Link {
    fn holds(self, way: Way) -> bool {
        match self {
            Self::HalfOpen => true,
            Self::Mute => way == Way::ToServer,
            Self::Deaf => way == Way::ToClient,
            Self::Up | Self::Cut | Self::Slow(_) => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// What every connection looks at.
#[derive(Clone, Copy, Debug)]
struct Weather {
    link: Link,
    /// Counts the ends of all open connections.
    ended: u64,
    /// Whether the last end was a reset.
    reset: bool,
}

/// The link between one client and one server.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    accepted: watch::Receiver<u64>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A link to a server on this machine, up.
    pub async fn to(server_port: u16) -> Self {
        let listener = bound(0).listen(BACKLOG).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (weather, seen) = watch::channel(Weather { link: Link::Up, ended: 0, reset: false });
        let (count, accepted) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, server_port, seen, count));
        Self { port, weather, accepted, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// The URL of the server with this link's port in it.
    #[must_use]
    pub fn rewrite(&self, url: &str) -> String {
        let (start, rest) = url.rsplit_once(':').unwrap();
        let rest = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        format!("{start}:{}{rest}", self.port)
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// From now on the link is like this.
    pub fn set(&self, link: Link) {
        self.weather.send_modify(|weather| {
            weather.link = link;
            if link == Link::Cut {
                weather.ended += 1;
                weather.reset = false;
            }
        });
    }

    /// Every open connection ends with a reset on both sides; new ones pass.
    pub fn reset(&self) {
        self.weather.send_modify(|weather| {
            weather.ended += 1;
            weather.reset = true;
        });
    }
}

/// The port of a URL of one of our servers.
#[must_use]
pub fn port(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(':').unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// A socket that has a port and does not listen: who connects is refused.
fn bound(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // Two of ours share the port for a moment, so that nobody else gets it while the link is cut.
    socket.set_reuseport(true).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    socket
}

async fn accept(
    mut listener: TcpListener,
    server_port: u16,
    mut weather: watch::Receiver<Weather>,
    count: watch::Sender<u64>,
) {
    let port = listener.local_addr().unwrap().port();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream).ok(),
            changed = weather.wait_for(|weather| weather.link == Link::Cut) => match changed {
                Ok(_) => None,
                Err(_) => return,
            },
        };
        match stream {
            Some(stream) => {
                count.send_modify(|count| *count += 1);
                tokio::spawn(carry(stream, server_port, weather.clone()));
            }
            None => {
                let socket = bound(port);
                drop(listener);
                if weather.wait_for(|weather| weather.link != Link::Cut).await.is_err() {
                    return;
                }
                listener = socket.listen(BACKLOG).unwrap();
            }
        }
    }
}

/// Carries one connection to its end.
async fn carry(mut client: TcpStream, server_port: u16, mut weather: watch::Receiver<Weather>) {
    let Weather { link, ended, .. } = *weather.borrow();
    if link == Link::Cut {
        return;
    }
    // A half-open link accepts and does not care whether anybody is there.
    if weather.wait_for(|now| now.ended != ended || now.link != Link::HalfOpen).await.is_err() {
        return;
    }
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let is_reset = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let mut ends = weather.clone();
        tokio::select! {
            () = pump(from_client, to_server, Way::ToServer, weather.clone()) => false,
            () = pump(from_server, to_client, Way::ToClient, weather.clone()) => false,
            end = ends.wait_for(|now| now.ended != ended) => end.is_ok_and(|now| now.reset),
        }
    };
    if is_reset {
        for stream in [&client, &server] {
            let _ = stream.set_zero_linger();
        }
    }
}

/// Returns when one side is gone.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    mut weather: watch::Receiver<Weather>,
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(read) = from.read(&mut chunk).await else { return };
        let Ok(now) = weather.wait_for(|now| !now.link.holds(way)).await.map(|now| now.link) else {
            return;
        };
        if let Link::Slow(by) = now {
            tokio::time::sleep(by).await;
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A server that says everything again.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    async fn client(proxy: &Proxy) -> std::io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await
    }

    async fn answer(stream: &mut TcpStream) -> std::io::Result<u8> {
        timeout(PATIENCE, stream.read_u8()).await.unwrap()
    }

    #[tokio::test]
    async fn a_link_that_is_up_passes_both_ways() {
        let proxy = Proxy::to(echo().await).await;
        let mut stream = client(&proxy).await.unwrap();
        stream.write_u8(7).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), 7);
        assert_eq!(proxy.accepted(), 1);
    }

    #[tokio::test]
    async fn a_cut_link_closes_and_refuses_until_it_is_up() {
        let proxy = Proxy::to(echo().await).await;
        let mut stream = client(&proxy).await.unwrap();
        stream.write_u8(7).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), 7);
        proxy.set(Link::Cut);
        assert!(answer(&mut stream).await.is_err());
        let refused = async {
            loop {
                if let Err(error) = client(&proxy).await {
                    return error.kind();
                }
                tokio::task::yield_now().await;
            }
        };
        let kind = timeout(PATIENCE, refused).await.unwrap();
        assert_eq!(kind, std::io::ErrorKind::ConnectionRefused);
        proxy.set(Link::Up);
        let again = async {
            loop {
                if let Ok(stream) = client(&proxy).await {
                    return stream;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut stream = timeout(PATIENCE, again).await.unwrap();
        stream.write_u8(8).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_half_open_link_takes_everything_and_gives_it_when_it_is_up() {
        for link in [Link::HalfOpen, Link::Mute, Link::Deaf] {
            let proxy = Proxy::to(echo().await).await;
            proxy.set(link);
            let mut stream = client(&proxy).await.unwrap();
            stream.write_u8(7).await.unwrap();
            assert!(timeout(SOON, stream.read_u8()).await.is_err(), "{link:?} let it pass");
            proxy.set(Link::Up);
            assert_eq!(answer(&mut stream).await.unwrap(), 7);
        }
    }

    #[tokio::test]
    async fn a_reset_is_a_reset() {
        let proxy = Proxy::to(echo().await).await;
        let mut stream = client(&proxy).await.unwrap();
        stream.write_u8(7).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), 7);
        proxy.reset();
        let error = answer(&mut stream).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(client(&proxy).await.is_ok());
    }

    #[tokio::test]
    async fn a_slow_link_is_slow() {
        let proxy = Proxy::to(echo().await).await;
        proxy.set(Link::Slow(SOON));
        let mut stream = client(&proxy).await.unwrap();
        let started = std::time::Instant::now();
        stream.write_u8(7).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), 7);
        assert!(started.elapsed() >= SOON * 2);
    }

    #[test]
    fn ports_of_urls_are_found_and_replaced() {
        let urls = [("nats://u:p@127.0.0.1:4222", ""), ("postgres://u:p@127.0.0.1:4222/db", "/db")];
        for (url, end) in urls {
            assert_eq!(port(url), 4222);
            assert!(url.ends_with(&format!(":4222{end}")));
        }
    }
}
