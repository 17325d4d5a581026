//! The example that comes with the binary: a shop, its history, and the agents that work on it.
//!
//! ```text
//! <folder>/example/          the binary's files, written anew when they differ from it
//! <folder>/example-before/   what was there before the last time that happened
//! <folder>/shop/             what the agents make: the repository, releases, answers, their log
//! ```

mod files;
mod tools;

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::error::CliError;
use files::FILES;
pub(crate) use tools::check as check_tools;

/// Ending a service takes ten seconds at most; there are two.
const BY_HAND_TIMEOUT: Duration = Duration::from_secs(30);
const PROGRAM: &str = "agents/infrastructure";
/// Where the agents keep what they make, seen from their own folder.
const HOME_LINK: &str = ".shop";
/// Names another place for what the agents make.
pub(crate) const HOME_VARIABLE: &str = "SHOP_HOME";

/// The example in one folder, unpacked or not.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    folder: PathBuf,
}

/// What unpacking found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    /// Nothing to do.
    AsItWas,
    /// It was not there.
    New,
    /// It was another one, which has been set aside.
    Replaced,
}

impl Example {
    pub(crate) fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The agents and what they need, as they are in the binary.
    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join("example")
    }

    /// What was unpacked before, when it differed.
    pub(crate) fn before(&self) -> PathBuf {
        self.folder.join("example-before")
    }

    pub(crate) fn agents_file(&self) -> PathBuf {
        self.program().join("agents.yaml")
    }

    /// Where the agents keep what they make, unless somebody wants it elsewhere.
    fn work(&self) -> PathBuf {
        self.folder.join("shop")
    }

    /// Where the agents keep what they make.
    pub(crate) fn home(&self) -> PathBuf {
        let elsewhere = std::env::var_os(HOME_VARIABLE).filter(|path| !path.is_empty());
        elsewhere.map_or_else(|| self.work(), PathBuf::from)
    }

    /// Whether agents ever made anything here.
    pub(crate) fn has_worked(&self) -> bool {
        fs::read_dir(self.work()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// How a person calls the program that starts and stops services.
    pub(crate) fn by_hand(&self, command: &str) -> String {
        format!("{} {command}", quoted(&self.program().join(PROGRAM)))
    }

    /// Makes `example/` what is in the binary, wholly or not at all. What the agents made stays.
    /// Whoever calls this holds the lock of the data folder.
    pub(crate) fn unpack(&self) -> Result<Unpacked, CliError> {
        let (program, work) = (self.program(), self.work());
        fs::create_dir_all(&work).map_err(CliError::io("create", &work))?;
        if is_current(&program) {
            return Ok(Unpacked::AsItWas);
        }
        let fresh = self.folder.join("example-new");
        remove(&fresh)?;
        write_all(&fresh).map_err(CliError::io("write into", &fresh))?;
        let replaced = fs::symlink_metadata(&program).is_ok();
        if replaced {
            remove(&self.before())?;
            rename(&program, &self.before())?;
        }
        rename(&fresh, &program)?;
        Ok(if replaced { Unpacked::Replaced } else { Unpacked::New })
    }

    /// One line for each service that runs: where, and which version.
    pub(crate) async fn running(&self) -> Result<Vec<String>, CliError> {
        let home = self.home();
        if !home.join("slots").exists() {
            return Ok(Vec::new());
        }
        let said = self.run(&home, "status").await?;
        let runs = |line: &&str| line.split_whitespace().nth(1) == Some("runs");
        Ok(said.lines().filter(runs).map(str::to_owned).collect())
    }

    /// Removes what the agents made in this folder, after ending the services that run from it.
    pub(crate) async fn forget_work(&self) -> Result<(), CliError> {
        let work = self.work();
        if work.join("slots").exists() {
            self.unpack()?;
            self.run(&work, "stop").await?;
        }
        remove(&work)
    }

    /// Removes everything of the example.
    pub(crate) async fn erase(&self) -> Result<(), CliError> {
        self.forget_work().await?;
        for path in [self.folder.join("example-new"), self.before(), self.program()] {
            remove(&path)?;
        }
        Ok(())
    }

    async fn run(&self, home: &Path, command: &str) -> Result<String, CliError> {
        let shown = || self.by_hand(command);
        let mut child = Command::new(self.program().join(PROGRAM));
        child.arg(command).env(HOME_VARIABLE, home).stdin(Stdio::null()).kill_on_drop(true);
        let done = timeout(BY_HAND_TIMEOUT, child.output()).await.map_err(|_| {
            CliError::Failed(format!(
                "`{}` did not end within {} s",
                shown(),
                BY_HAND_TIMEOUT.as_secs()
            ))
        })?;
        let done = done.map_err(|error| CliError::Failed(format!("`{}`: {error}", shown())))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            let reason = said.trim().lines().last().unwrap_or("it gave no reason").to_owned();
            return Err(CliError::Failed(format!("`{}` failed: {reason}", shown())));
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }
}

/// Programs start with the line that says what runs them.
fn is_program(text: &str) -> bool {
    text.starts_with("#!")
}

fn mode(text: &str) -> u32 {
    if is_program(text) { 0o755 } else { 0o644 }
}

/// Whether every file is there as it is in the binary. Others, such as Python's caches, do not matter.
fn is_current(program: &Path) -> bool {
    let same = |(name, text): &(&str, &str)| {
        let path = program.join(name);
        fs::read(&path).is_ok_and(|found| found == text.as_bytes())
            && fs::metadata(&path)
                .is_ok_and(|found| found.permissions().mode() & 0o100 == mode(text) & 0o100)
    };
    FILES.iter().all(same) && program.join(HOME_LINK).is_dir()
}

fn write_all(folder: &Path) -> io::Result<()> {
    for (name, text) in FILES {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode(text)).open(&path)?;
        file.write_all(text.as_bytes())?;
    }
    // What the agents make must outlive what they are, and a person who calls one finds the same place.
    symlink(Path::new("..").join("shop"), folder.join(HOME_LINK))
}

fn rename(from: &Path, to: &Path) -> Result<(), CliError> {
    fs::rename(from, to).map_err(CliError::io("rename", from))
}

fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CliError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// A path as a shell reads it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests;
