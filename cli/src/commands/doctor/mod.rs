//! `sluice doctor`: what Sluice needs, and whether it is there. One function a check.

mod local;
mod remote;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::args::Global;
use crate::config::Config;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Data folder of `sluice dev`
    #[arg(long, value_name = "DIR", default_value = "./.sluice")]
    data: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What a check found, and what to do about it.
struct Check {
    name: &'static str,
    level: Level,
    found: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into() }
    }

    fn warn(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, found: found.into() }
    }

    fn fail(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, found: found.into() }
    }
}

pub(crate) async fn run(global: &Global, args: DoctorArgs) -> Result<(), CliError> {
    let checks = match super::load(global, []) {
        Ok(config) => all(&config, args).await,
        Err(error) => vec![Check::fail("configuration", error.to_string())],
    };
    match global.format(Format::Text) {
        Format::Json => output::json(&checks.iter().map(described).collect::<Vec<_>>()),
        Format::Text => show(&checks),
    }
    let failed = checks.iter().filter(|check| check.level == Level::Fail).count();
    if failed == 0 { Ok(()) } else { Err(CliError::Failed(format!("{failed} checks failed"))) }
}

async fn all(config: &Config, args: DoctorArgs) -> Vec<Check> {
    let mut checks = vec![Check::ok("sluice", env!("CARGO_PKG_VERSION"))];
    checks.extend(local::servers().await);
    checks.extend(local::variables());
    checks.push(local::disk(&args.data));
    checks.push(local::templates(config));
    checks.push(local::agents(config));
    checks.push(local::model(config));
    checks.push(local::event_secret(config));
    let gateway = remote::gateway(config).await;
    checks.extend(local::ports(config, gateway.level == Level::Ok));
    checks.push(gateway);
    checks.extend(remote::nats_and_behind(config).await);
    checks
}

fn described(check: &Check) -> Value {
    json!({"check": check.name, "level": check.level.as_str(), "found": check.found})
}

fn show(checks: &[Check]) {
    let row = |check: &Check| {
        [check.level.as_str().to_owned(), check.name.to_owned(), check.found.clone()]
    };
    output::table(["LEVEL", "CHECK", "FOUND"], &checks.iter().map(row).collect::<Vec<_>>());
}
