//! Checks that look at this machine only.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use sluice_engine::template;
use sluice_servers::Binary;

use super::Check;
use crate::config::{Config, key, misspelt_variables};
use crate::{embedded, roles};

/// Below this PostgreSQL and NATS will soon be in trouble.
const LITTLE_SPACE_BYTES: u64 = 1024 * 1024 * 1024;
/// Below this a start makes no sense.
const NO_SPACE_BYTES: u64 = 100 * 1024 * 1024;

pub(super) async fn servers() -> Vec<Check> {
    // Looking runs the binaries.
    match tokio::task::spawn_blocking(sluice_servers::look).await {
        Ok(Ok(found)) => vec![
            binary("nats-server", found.nats.as_ref()),
            binary("PostgreSQL server", found.postgres.as_ref()),
        ],
        Ok(Err(error)) => vec![Check::fail("servers", error.to_string())],
        Err(error) => vec![Check::fail("servers", error.to_string())],
    }
}

fn binary(name: &'static str, found: Option<&Binary>) -> Check {
    match found {
        Some(binary) => Check::ok(name, format!("{} ({})", binary.version, binary.path.display())),
        None => {
            Check::ok(name, "not found; `sluice dev` fetches it, other commands do not need it")
        }
    }
}

pub(super) fn variables() -> Vec<Check> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let warn = |(name, near): (String, &str)| {
        Check::warn(
            "environment",
            format!("{name} is no setting of ours; {near} was probably meant"),
        )
    };
    misspelt_variables(names).into_iter().map(warn).collect()
}

pub(super) fn disk(data: &Path) -> Check {
    let name = "disk space";
    let existing =
        data.ancestors().find(|path| path.exists()).filter(|path| *path != Path::new(""));
    match rustix::fs::statvfs(existing.unwrap_or(Path::new("."))) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} MiB free for {}", free / 1024 / 1024, data.display());
            match free {
                0..NO_SPACE_BYTES => Check::fail(name, format!("{found}; make room")),
                NO_SPACE_BYTES..LITTLE_SPACE_BYTES => {
                    Check::warn(name, format!("{found}; make room"))
                }
                _ => Check::ok(name, found),
            }
        }
        Err(error) => Check::warn(name, format!("unknown for {}: {error}", data.display())),
    }
}

pub(super) fn templates(config: &Config) -> Check {
    let name = "templates";
    let texts = match config.path(key::TEMPLATES_DIR) {
        Some(folder) => match read_templates(&folder) {
            Ok(texts) => texts,
            Err(error) => return Check::fail(name, format!("{}: {error}", folder.display())),
        },
        None => embedded::TEMPLATES
            .iter()
            .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()))
            .collect(),
    };
    let broken: Vec<&str> = texts
        .iter()
        .filter(|(file, text)| template::load(file, text).template.is_none())
        .map(|(file, _)| file.as_str())
        .collect();
    match (texts.len(), broken.as_slice()) {
        (0, _) => Check::warn(name, "none; name a folder with SLUICE_TEMPLATES_DIR"),
        (n, []) => Check::ok(name, format!("{n} valid")),
        (_, broken) => Check::fail(
            name,
            format!("`sluice template validate` says what is wrong with {}", broken.join(", ")),
        ),
    }
}

fn read_templates(folder: &Path) -> std::io::Result<Vec<(String, String)>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let is_template = |path: &PathBuf| {
        path.file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name.ends_with(".workflow.yaml"))
    };
    let read = |path: PathBuf| Ok((path.display().to_string(), std::fs::read_to_string(&path)?));
    paths.into_iter().filter(is_template).map(read).collect()
}

pub(super) fn agents(config: &Config) -> Check {
    let name = "agents file";
    match (config.text(key::AGENTS_FILE), roles::agents(config)) {
        (None, _) => {
            Check::warn(name, "none; a worker runs no agents without one: set SLUICE_AGENTS_FILE")
        }
        (Some(path), Ok(agents)) => {
            Check::ok(name, format!("{path}, {} agents", agents.agents().count()))
        }
        (Some(_), Err(error)) => Check::fail(name, error.to_string()),
    }
}

pub(super) fn model(config: &Config) -> Check {
    let name = "model";
    match (config.text(key::LLM_BASE_URL), config.text(key::LLM_MODEL)) {
        (Some(_), Some(model)) => Check::ok(name, model),
        (None, None) => Check::warn(
            name,
            "not configured: steps and gates that ask one fail; set SLUICE_LLM_BASE_URL and SLUICE_LLM_MODEL",
        ),
        (None, _) => Check::fail(name, "SLUICE_LLM_MODEL is set and SLUICE_LLM_BASE_URL is not"),
        (_, None) => Check::fail(name, "SLUICE_LLM_BASE_URL is set and SLUICE_LLM_MODEL is not"),
    }
}

pub(super) fn event_secret(config: &Config) -> Check {
    let name = "event secret";
    if !config.is_chosen(key::EVENT_SECRET) {
        return Check::ok(
            name,
            "not set; `sluice dev` makes its own, `sluice coordinator` needs SLUICE_EVENT_SECRET",
        );
    }
    match roles::event_secret(config) {
        Ok(secret) => Check::ok(name, format!("{} bytes", secret.len())),
        Err(error) => Check::fail(name, error.to_string()),
    }
}

/// A port that our own gateway holds is as it should be.
pub(super) fn ports(config: &Config, gateway_runs: bool) -> Vec<Check> {
    let check = |name, key: &str, flag| {
        let addr = config.addr(key);
        match TcpListener::bind(addr) {
            Ok(_) => Check::ok(name, format!("{addr} is free")),
            Err(error) if error.kind() == ErrorKind::AddrInUse && gateway_runs => {
                Check::ok(name, format!("{addr} is in use, and a gateway runs"))
            }
            Err(error) => Check::fail(
                name,
                format!("{addr}: {error}; free it, or choose another with {flag}"),
            ),
        }
    };
    vec![
        check("gateway port", key::GATEWAY_ADDR, "--gateway-addr"),
        check("state port", key::STATE_ADDR, "--state-addr"),
    ]
}
