//! What a caller may choose.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How the servers are started. Construct with [`Options::new`] or [`Options::for_tests`] and
/// change fields.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; created when missing. Everything of the servers lies here, save a cluster
    /// that must lie elsewhere for root.
    pub data: PathBuf,
    /// What a crash of the machine may cost.
    pub durability: Durability,
    /// When NATS writes its streams to the disk.
    pub nats_sync: NatsSync,
    /// The NATS port. `None` takes that of the last start, or a free one.
    pub nats_port: Option<u16>,
    /// The PostgreSQL port. `None` takes that of the last start, or a free one.
    pub postgres_port: Option<u16>,
    /// The folder of the log files. `None` means `logs` in the data folder.
    pub logs: Option<PathBuf>,
    /// Where the server binaries come from.
    pub binaries: BinarySource,
    /// The folder of installed wheels. `None` means `SLUICE_CACHE_DIR`, else one of the machine for
    /// root, of the user for others.
    pub cache: Option<PathBuf>,
    /// Ask the kernel to end the servers when this process is killed outright. Works on Linux where
    /// `setpriv` of util-linux is installed, and does nothing elsewhere.
    pub die_with_parent: bool,
    /// How long one server may take until it accepts connections.
    pub start_timeout: Duration,
    /// Hears what is going on.
    pub progress: Progress,
}

impl Options {
    /// Durable servers in `data`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            durability: Durability::Full,
            nats_sync: NatsSync::Default,
            nats_port: None,
            postgres_port: None,
            logs: None,
            binaries: BinarySource::Any,
            cache: None,
            die_with_parent: true,
            start_timeout: Duration::from_secs(60),
            progress: Progress::default(),
        }
    }

    /// Fast servers in `data` that may lose everything when the machine crashes.
    pub fn for_tests(data: impl Into<PathBuf>) -> Self {
        Self { durability: Durability::Test, ..Self::new(data) }
    }
}

/// What a crash of the machine may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that PostgreSQL has committed: `fsync`, `full_page_writes` and `synchronous_commit`
    /// are on.
    Full,
    /// Everything: PostgreSQL writes each commit before it acknowledges it, but never flushes. A
    /// crash of the servers alone loses nothing. For tests only.
    Test,
}

/// When NATS flushes JetStream files to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatsSync {
    /// At the interval that is the server's default.
    Default,
    /// Before every acknowledgement.
    Always,
}

/// Where the server binaries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinarySource {
    /// `SLUICE_NATS_SERVER` and `SLUICE_PG_BIN`, else the PATH, else common places, else the pinned
    /// wheels.
    Any,
    /// The pinned wheels only, so that every machine runs the same versions.
    Wheels,
}

/// Hears one line about each thing that takes a while or might surprise.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Listener>>);

type Listener = dyn Fn(&str) + Send + Sync;

impl Progress {
    /// Calls `listener` with every line. It is called from more than one thread.
    pub fn new(listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn say(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        tracing::info!("{line}");
        if let Some(listener) = &self.0 {
            listener(line);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(listener)" } else { "Progress(silent)" })
    }
}
