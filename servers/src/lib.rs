//! Installs and supervises a private nats-server and PostgreSQL for one machine.
//!
//! `sluice dev`, the test harness and the benchmark call [`Servers::start`] with a data folder and
//! get two real servers with generated passwords. Nothing else of Sluice knows how such a server is
//! found, made, started or stopped.
//!
//! ```no_run
//! # async fn example() -> Result<(), sluice_servers::Error> {
//! use sluice_servers::{Options, Servers};
//!
//! let servers = Servers::start(Options::new("/srv/sluice")).await?;
//! let _ = (servers.nats_url(), servers.database_url());
//! servers.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! **Who dies when.** Both servers are direct children in our process group. A normal end is
//! [`Servers::stop`]; dropping a [`Servers`] kills what is left. A Ctrl-C at the terminal reaches
//! the whole group, so the servers may be gone before the caller has finished its own stop:
//! PostgreSQL takes the same signal as its fast shutdown, and the caller should stop listening to
//! [`Servers::exited`] first. A parent that is killed outright takes its children along where
//! `setpriv` is installed ([`Options::die_with_parent`]); anywhere else the next start on the
//! folder finds the survivors by their pid files and stops them.

mod cluster;
mod command;
mod datadir;
mod error;
mod install;
mod locate;
mod lock;
mod nats;
mod options;
mod ports;
mod postgres;
mod proc_table;
mod process;
mod secrets;
mod servers;
mod supervised;
mod survivors;
mod user;

pub use error::{Error, Result};
pub use locate::{Binary, Found, Origin, look, nats_server};
pub use options::{BinarySource, Durability, NatsSync, Options, Progress};
pub use servers::{Pids, Servers, Versions, erase, has_data};
pub use supervised::{Exit, Server};
