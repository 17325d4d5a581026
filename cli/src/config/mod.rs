//! What is in force and where each value came from: flags, then environment, then `sluice.yaml`, then
//! defaults. Values are checked when they are loaded, so the readers below cannot fail.

mod error;
mod file;
mod kind;
mod mask;
mod settings;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use error::ConfigError;
pub(crate) use settings::{SETTINGS, Setting, is_known_variable, key};

use crate::names::nearest;

/// File that is read when no other is named; it need not exist.
const DEFAULT_FILE: &str = "sluice.yaml";

/// Looks up an environment variable.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A value from the command line.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(&'static str),
    Environment(&'static str),
    File { path: PathBuf, line: u64, column: u64 },
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => f.write_str(name),
            Self::Environment(name) => f.write_str(name),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting and what it is.
pub(crate) struct Entry {
    pub(crate) setting: &'static Setting,
    /// None: not set, and there is no default.
    pub(crate) value: Option<String>,
    pub(crate) origin: Origin,
}

impl Entry {
    /// The value as it may be shown.
    pub(crate) fn shown(&self) -> Option<String> {
        self.value.as_deref().map(|value| mask::mask(self.setting.secrecy, value))
    }
}

/// Every setting, in the order of the table.
pub(crate) struct Config {
    entries: Vec<Entry>,
}

impl Config {
    /// Gathers and checks everything.
    pub(crate) fn load(
        flags: &[Flag],
        env: Environment<'_>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let file = read_file(file, env)?;
        let entries = SETTINGS.iter().map(|setting| resolve(setting, flags, env, &file));
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn entry(&self, key: &str) -> &Entry {
        let found = self.entries.iter().find(|entry| entry.setting.key == key);
        found.expect("keys are constants of the table")
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.entry(key).value.as_deref()
    }

    /// A setting that has a default.
    pub(crate) fn required(&self, key: &str) -> &str {
        self.text(key).expect("this setting has a default")
    }

    /// A setting that some command cannot do without.
    pub(crate) fn needed(
        &self,
        key: &'static str,
        what_for: &'static str,
    ) -> Result<&str, ConfigError> {
        let setting = self.entry(key).setting;
        self.text(key).ok_or(ConfigError::Missing { variable: setting.variables[0], key, what_for })
    }

    pub(crate) fn addr(&self, key: &str) -> SocketAddr {
        self.required(key).parse().expect("addresses are checked when they are loaded")
    }

    pub(crate) fn duration(&self, key: &str) -> Duration {
        kind::duration(self.required(key)).expect("durations are checked when they are loaded")
    }

    pub(crate) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let items = self.text(key).unwrap_or_default().split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Lets a setting be what it is when nobody sets it.
    pub(crate) fn forget(&mut self, key: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.setting.key == key) {
            entry.value = entry.setting.default.map(str::to_owned);
            entry.origin = Origin::Default;
        }
    }

    /// Whether somebody chose this value.
    pub(crate) fn is_chosen(&self, key: &str) -> bool {
        self.entry(key).origin != Origin::Default
    }
}

/// A file that somebody named must exist; the usual one need not.
fn read_file(named: Option<&Path>, env: Environment<'_>) -> Result<Vec<file::Line>, ConfigError> {
    let named = named.map(Path::to_owned).or_else(|| set(env("SLUICE_CONFIG")).map(PathBuf::from));
    match named {
        Some(path) => file::read(&path),
        None if Path::new(DEFAULT_FILE).exists() => file::read(Path::new(DEFAULT_FILE)),
        None => Ok(Vec::new()),
    }
}

fn resolve(
    setting: &'static Setting,
    flags: &[Flag],
    env: Environment<'_>,
    file: &[file::Line],
) -> Result<Entry, ConfigError> {
    let (value, origin) = find(setting, flags, env, file);
    let value = match value {
        Some(value) => {
            Some(setting.kind.check(&value).map_err(|expected| ConfigError::WrongType {
                origin: origin.clone(),
                key: setting.key,
                value: mask::mask(setting.secrecy, &value),
                expected,
            })?)
        }
        None => None,
    };
    Ok(Entry { setting, value, origin })
}

fn find(
    setting: &'static Setting,
    flags: &[Flag],
    env: Environment<'_>,
    file: &[file::Line],
) -> (Option<String>, Origin) {
    // The last flag wins, as with every other program.
    if let Some(flag) = flags.iter().rev().find(|flag| flag.key == setting.key) {
        return (Some(flag.value.clone()), Origin::Flag(flag.name));
    }
    let from_env =
        |name: &&'static str| set(env(name)).map(|value| (Some(value), Origin::Environment(name)));
    if let Some(found) = setting.variables.iter().find_map(from_env) {
        return found;
    }
    match file.iter().find(|line| line.key == setting.key) {
        Some(line) => (Some(line.value.clone()), line.origin.clone()),
        None => (setting.default.map(str::to_owned), Origin::Default),
    }
}

/// An empty variable counts as unset: that is how shells and compose files clear one.
fn set(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.trim().is_empty())
}

/// Variables that look like ours and are not, with the one that was probably meant.
pub(crate) fn misspelt_variables(
    names: impl Iterator<Item = String>,
) -> Vec<(String, &'static str)> {
    let known = || SETTINGS.iter().flat_map(|setting| setting.variables.iter().copied());
    let ours = names.filter(|name| name.starts_with("SLUICE_") && !is_known_variable(name));
    ours.filter_map(|name| nearest(&name, known()).map(|near| (name, near))).collect()
}

#[cfg(test)]
mod tests;
