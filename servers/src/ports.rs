//! Which ports the servers listen on: asked for, remembered, or free.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::options::Progress;
use crate::proc_table;
use crate::supervised::Server;

/// Below the range that outgoing connections take their ports from. A client that keeps
/// reconnecting to a port in that range while its server is down may be given this very port, and
/// then the server cannot come back.
const FREE: std::ops::Range<u16> = 17_000..32_000;
const TRIES: usize = 200;

/// The ports of the last start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) nats: u16,
    pub(crate) postgres: u16,
}

/// A port kept from others until the server is about to be started.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) port: u16,
    #[expect(dead_code, reason = "held for its lifetime")]
    listener: TcpListener,
}

/// Reserves the port that was asked for, else the remembered one, else a free one.
pub(crate) fn reserve(
    server: Server,
    asked: Option<u16>,
    remembered: Option<u16>,
    progress: &Progress,
) -> Result<Reservation> {
    if let Some(port) = asked.filter(|port| *port != 0) {
        return bind(port).ok_or_else(|| Error::PortTaken {
            server: server.name(),
            port,
            holder: holder(port),
        });
    }
    if let Some(port) = remembered {
        match bind(port) {
            Some(reservation) => return Ok(reservation),
            None => progress.say(format!(
                "port {port} of the last start of {} is taken by {}; taking another",
                server.name(),
                holder(port)
            )),
        }
    }
    let found = (0..TRIES).find_map(|_| bind(fastrand::u16(FREE)));
    found.ok_or(Error::NoFreePort { server: server.name() })
}

fn bind(port: u16) -> Option<Reservation> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(Reservation { port, listener })
}

/// Who listens on the port, as far as we may see.
fn holder(port: u16) -> String {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode =
        tables.iter().find_map(|table| listening_inode(&fs::read_to_string(table).ok()?, port));
    let pid = inode.and_then(|inode| proc_table::owner_of_socket(&inode));
    pid.map_or_else(
        || format!("another process (lsof -i :{port} may name it)"),
        proc_table::describe,
    )
}

/// The inode of the socket that listens on `port`, from the text of `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
        (state == LISTEN && local.ends_with(&suffix)).then(|| inode.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_listener_in_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F41 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 111 1 0 20 4\n\
             1: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0\n";
        assert_eq!(listening_inode(table, 8001), Some("222".to_owned()));
        assert_eq!(listening_inode(table, 8002), None);
    }

    #[test]
    fn a_taken_port_is_refused_when_asked_for_and_replaced_when_remembered() {
        let held = reserve(Server::Nats, None, None, &Progress::default()).unwrap();
        let asked = reserve(Server::Nats, Some(held.port), None, &Progress::default());
        let message = asked.unwrap_err().to_string();
        assert!(message.contains(&format!("port {} for nats-server", held.port)), "{message}");
        let other = reserve(Server::Nats, None, Some(held.port), &Progress::default()).unwrap();
        assert_ne!(other.port, held.port);
    }
}
