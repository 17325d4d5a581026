//! What the demo left behind, seen from outside: services over HTTP, the changelog in git.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::error::CliError;

const TIMEOUT: Duration = Duration::from_secs(10);

/// What a service says about itself.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) status: String,
    pub(super) version: String,
}

/// Asks the service at `url` how it is.
pub(super) async fn health(url: &str) -> Result<Health, CliError> {
    let body = fetch(&format!("{url}/health")).await?;
    let text = |name: &str| body[name].as_str().unwrap_or("unknown").to_owned();
    Ok(Health { status: text("status"), version: text("version") })
}

/// What the service answers; anything but JSON with a good status is an error.
pub(super) async fn fetch(url: &str) -> Result<Value, CliError> {
    let wrong = |reason: String| CliError::Failed(format!("GET {url}: {reason}"));
    // Services of the example are on loopback, where no proxy leads.
    let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build();
    let http = http.map_err(|error| wrong(error.to_string()))?;
    let response = http.get(url).send().await.map_err(|error| wrong(error.to_string()))?;
    let status = response.status();
    let body = response.bytes().await.map_err(|error| wrong(error.to_string()))?;
    if !status.is_success() {
        return Err(wrong(format!("{status}: {}", String::from_utf8_lossy(&body))));
    }
    serde_json::from_slice(&body).map_err(|error| wrong(format!("no JSON: {error}")))
}

/// Whether `line` stands in the changelog on the main branch.
pub(super) async fn is_in_changelog(repository: &Path, line: &str) -> Result<bool, CliError> {
    let mut git = Command::new("git");
    git.arg("--git-dir").arg(repository).args(["show", "refs/heads/main:CHANGELOG.md"]);
    git.stdin(Stdio::null()).kill_on_drop(true);
    let wrong = |reason: String| CliError::Failed(format!("git show: {reason}"));
    let done = timeout(TIMEOUT, git.output()).await.map_err(|_| wrong("no end".to_owned()))?;
    let done = done.map_err(|error| wrong(error.to_string()))?;
    if !done.status.success() {
        return Err(wrong(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&done.stdout).lines().any(|found| found == line))
}
