//! The data folder of `sluice dev`: what is ours in it, and whether it is ours at all.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sluice_proto::seal::hex;
use sluice_servers::Progress;

use crate::error::CliError;

/// Says that the folder is ours, so that nobody's home folder is ever wiped.
const MARKER: &str = "sluice-data";
const MARKER_TEXT: &str = "This folder belongs to `sluice dev`; `sluice dev --fresh` wipes it.\n";
const SECRET: &str = "event-secret";
const CONNECTION: &str = "connection.env";

/// A folder that is ours.
pub(super) struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Creates the folder, or checks that it is ours.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let root = std::path::absolute(path).map_err(CliError::io("resolve", path))?;
        if !root.join(MARKER).exists() {
            if !is_empty(&root)? {
                return Err(not_ours(&root));
            }
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&root)
                .map_err(CliError::io("create", &root))?;
            fs::write(root.join(MARKER), MARKER_TEXT).map_err(CliError::io("write into", &root))?;
        }
        Ok(Self { root })
    }

    /// Removes everything that is ours from a folder that is. Files of others stay. Blocks the thread.
    pub(super) fn wipe(path: &Path, progress: &Progress) -> Result<(), CliError> {
        if !path.join(MARKER).exists() {
            return if is_empty(path)? { Ok(()) } else { Err(not_ours(path)) };
        }
        sluice_servers::erase(path, progress)?;
        for name in [SECRET, CONNECTION] {
            match fs::remove_file(path.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(CliError::io("remove", path.join(name))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The secret that signs this folder's events; made before the first start of its servers and kept,
    /// because an event can only be checked with the secret it was signed with.
    pub(super) fn event_secret(&self) -> Result<Vec<u8>, CliError> {
        let path = self.root.join(SECRET);
        match fs::read_to_string(&path) {
            Ok(secret) if secret.trim().len() >= 32 => {
                return Ok(secret.trim().as_bytes().to_vec());
            }
            Ok(_) => {
                return Err(CliError::Failed(format!(
                    "{} is cut short; restore it, or start anew with --fresh",
                    path.display()
                )));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(CliError::io("read", path)(error));
            }
            Err(_) if sluice_servers::has_data(&self.root) => {
                return Err(CliError::Failed(format!(
                    "{} is missing, with which the records in this folder were signed; restore it, set SLUICE_EVENT_SECRET to it, or start anew with --fresh",
                    path.display()
                )));
            }
            Err(_) => {}
        }
        let secret = new_secret()?;
        write_private(&path, &secret)?;
        Ok(secret.into_bytes())
    }

    /// Tells other tools how to connect, as shell variables.
    pub(super) fn write_connection(&self, variables: &[(&str, &str)]) -> Result<PathBuf, CliError> {
        let path = self.root.join(CONNECTION);
        let lines = variables.iter().map(|(name, value)| format!("export {name}='{value}'\n"));
        write_private(&path, &lines.collect::<String>())?;
        Ok(path)
    }
}

fn is_empty(folder: &Path) -> Result<bool, CliError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(CliError::io("read", folder)(error)),
    }
}

fn not_ours(folder: &Path) -> CliError {
    CliError::Failed(format!(
        "{} holds files and is no data folder of `sluice dev` ({MARKER} is missing); choose another with --data",
        folder.display()
    ))
}

fn new_secret() -> Result<String, CliError> {
    let mut bytes = [0; 32];
    let source = Path::new("/dev/urandom");
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(CliError::io("read", source))?;
    Ok(hex(&bytes))
}

/// Writes a file that only we may read, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let staging = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&staging)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&staging, path)
    };
    write().map_err(CliError::io("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("sluice-folder-{}-{name}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        path
    }

    #[test]
    fn the_secret_is_private_and_stays() {
        let path = scratch("secret");
        let first = DataFolder::open(&path).unwrap().event_secret().unwrap();
        let again = DataFolder::open(&path).unwrap().event_secret().unwrap();
        assert_eq!((first.len(), &first), (64, &again));
        assert_eq!(fs::metadata(path.join(SECRET)).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn no_other_secret_is_made_beside_records() {
        let path = scratch("lost-secret");
        let folder = DataFolder::open(&path).unwrap();
        folder.event_secret().unwrap();
        fs::write(path.join("secrets.json"), "{}").unwrap();
        folder.event_secret().unwrap();
        fs::remove_file(path.join(SECRET)).unwrap();
        let told = folder.event_secret().unwrap_err().to_string();
        assert!(
            told.contains("event-secret is missing") && told.contains("SLUICE_EVENT_SECRET"),
            "{told}"
        );
        assert!(!path.join(SECRET).exists());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn foreign_folders_are_left_alone() {
        let path = scratch("foreign");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("thesis.txt"), "years").unwrap();
        assert!(DataFolder::open(&path).is_err());
        assert!(DataFolder::wipe(&path, &Progress::default()).is_err());
        assert!(path.join("thesis.txt").exists());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn wiping_takes_only_what_is_ours() {
        let path = scratch("wipe");
        let first = DataFolder::open(&path).unwrap().event_secret().unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        DataFolder::wipe(&path, &Progress::default()).unwrap();
        assert!(path.join("notes.txt").exists());
        assert_ne!(DataFolder::open(&path).unwrap().event_secret().unwrap(), first);
        fs::remove_dir_all(&path).unwrap();
    }
}
