//! Where the PostgreSQL cluster lies and who runs it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::datadir::{DataDir, make_folder, read_json, remove_if_there, write_json};
use crate::error::{Error, Result};
use crate::options::{Durability, Options, Progress};
use crate::proc_table;
use crate::user::{self, User};

/// Where clusters lie whose data folder the user that runs PostgreSQL cannot reach.
const OUTSIDE: &str = "/var/lib/sluice";

/// A cluster, made or still to be made.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) path: PathBuf,
    /// Who runs it; `None` means ourselves.
    pub(crate) user: Option<User>,
    pub(crate) exists: bool,
}

impl Cluster {
    /// Finds the cluster of a data folder, or decides where it shall lie.
    pub(crate) fn of(data: &DataDir, options: &Options) -> Result<Self> {
        let [inside, outside] = places(data);
        for path in [&inside, &outside] {
            if path.is_dir() {
                return Self::existing(path.clone());
            }
        }
        if data.secrets().exists() {
            // Secrets are written after the cluster: there was one, and to make an empty one now
            // would look like lost data.
            return Err(Error::ClusterMissing { folder: data.root().to_owned(), cluster: inside });
        }
        if !user::is_root() {
            return Ok(Self { path: inside, user: None, exists: false });
        }
        let user = User::unprivileged()?;
        if user.can_reach(data.root()) {
            return Ok(Self { path: inside, user: Some(user), exists: false });
        }
        prepare_outside(data, options.durability)?;
        options.progress.say(format!(
            "PostgreSQL runs as user {}, who cannot reach {}; its cluster lies in {}",
            user.name,
            data.root().display(),
            outside.display()
        ));
        Ok(Self { path: outside, user: Some(user), exists: false })
    }

    /// The major version that made the cluster.
    pub(crate) fn major(&self) -> Option<u32> {
        fs::read_to_string(self.path.join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// The folder that the cluster lies in.
    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    fn existing(path: PathBuf) -> Result<Self> {
        let found = fs::metadata(&path).map_err(|source| Error::Io {
            doing: "look at",
            path: path.clone(),
            source,
        })?;
        let ours = rustix::process::geteuid().as_raw();
        if !user::is_root() {
            let owner = found.uid();
            return match owner == ours {
                true => Ok(Self { path, user: None, exists: true }),
                false => Err(Error::ClusterOwner { cluster: path, owner }),
            };
        }
        if found.uid() == 0 {
            return Err(Error::ClusterOwner { cluster: path, owner: 0 });
        }
        let user = User::owner_of(&found);
        match user.can_reach(&path) {
            true => Ok(Self { path, user: Some(user), exists: true }),
            false => Err(Error::ClusterOutOfReach { cluster: path, user: user.name }),
        }
    }
}

/// Where the cluster of a data folder may lie.
pub(crate) fn places(data: &DataDir) -> [PathBuf; 2] {
    [data.postgres(), Path::new(OUTSIDE).join(data.fingerprint()).join("postgres")]
}

/// Removes what lies outside of the data folder for it.
pub(crate) fn remove_outside(data: &DataDir) -> Result<()> {
    remove_if_there(&Path::new(OUTSIDE).join(data.fingerprint()))
}

/// Removes clusters of test folders that no longer exist. A durable one stays: its folder may be on
/// a disk that is not mounted.
pub(crate) fn remove_abandoned(progress: &Progress) {
    let entries = fs::read_dir(OUTSIDE).into_iter().flatten().flatten();
    for entry in entries {
        let folder = entry.path();
        let Ok(Some(origin)) = read_json::<Origin>(&folder.join("origin.json")) else { continue };
        let in_use = || !proc_table::postgres_in(&folder.join("postgres")).is_empty();
        if origin.test && !origin.data.exists() && !in_use() && remove_if_there(&folder).is_ok() {
            progress
                .say(format!("removed the cluster of {}, which is gone", origin.data.display()));
        }
    }
}

/// Whose cluster this is, for people and for the removal of abandoned ones.
#[derive(Serialize, Deserialize)]
struct Origin {
    data: PathBuf,
    test: bool,
}

fn prepare_outside(data: &DataDir, durability: Durability) -> Result<()> {
    let folder = Path::new(OUTSIDE).join(data.fingerprint());
    make_folder(&folder, 0o755)?;
    let origin = Origin { data: data.root().to_owned(), test: durability == Durability::Test };
    write_json(&folder.join("origin.json"), &origin)
}
