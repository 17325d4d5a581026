//! The data folder: one owner at a time, and what lies where in it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::{Error, IoContext, Result};
use crate::lock::Lock;
use crate::user;

/// The file with the passwords: it is there once servers were started.
pub(crate) const SECRETS: &str = "secrets.json";

/// A data folder that nobody else works on as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: Lock,
}

impl DataDir {
    /// Creates the folder if needed and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // Root's folder must let the user pass who runs PostgreSQL. What is secret in it has its
        // own mode.
        make_folder(path, if user::is_root() { 0o755 } else { 0o700 })?;
        let root = path.canonicalize().doing("resolve", path)?;
        match Lock::try_take(&root.join("lock"))? {
            Ok(lock) => Ok(Self { root, _lock: lock }),
            Err(holder) => Err(Error::FolderInUse { folder: root, holder }),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.root.join(SECRETS)
    }

    pub(crate) fn ports(&self) -> PathBuf {
        self.root.join("ports.json")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    pub(crate) fn nats_pid(&self) -> PathBuf {
        self.root.join("nats-server.pid")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }

    pub(crate) fn postgres_pid(&self) -> PathBuf {
        self.root.join("postgres.pid")
    }

    /// A short name for this folder that no other folder of this machine has.
    pub(crate) fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        HEXLOWER.encode(&digest[..8])
    }
}

/// Creates a folder and those above it; only folders made here get the mode.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent, mode)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        made => made.doing("create folder", path)?,
    }
    // Afterwards, because the umask may take bits away that another user needs.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing("set the mode of", path)
}

/// Writes a file that only we may read, whole or not at all. Whoever calls holds the data folder,
/// so nobody else writes it.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let staging = path.with_extension("new");
    remove_if_there(&staging)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staging)
        .doing("create", &staging)?;
    file.write_all(content).and_then(|()| file.sync_all()).doing("write", &staging)?;
    fs::rename(&staging, path).doing("move into place", path)
}

/// Reads a JSON file of ours; `None` when there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).doing("read", path),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| Error::BadFile { path: path.to_owned(), source })
}

/// Writes a JSON file that only we may read.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).doing("encode", path)?;
    text.push(b'\n');
    write_private(path, &text)
}

/// Removes a file or a folder with all it holds; that there is none is fine.
pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).doing("remove", path),
        _ => Ok(()),
    }
}

/// What lies in `folder` and begins with `prefix`: leftovers of something that was cut short.
pub(crate) fn prefixed(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).doing("list", folder)?.flatten();
    let wanted = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    Ok(wanted.map(|entry| entry.path()).collect())
}
