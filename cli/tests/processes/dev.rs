//! `sluice dev` in a process group of its own.

use std::path::Path;

use sqlx::PgPool;

use sluice_tests::processes::process::Process;
use sluice_tests::processes::site::{Api, pool};

pub(crate) struct Dev {
    pub(crate) process: Process,
    pub(crate) api: Api,
}

impl Dev {
    /// Started, and not yet ready.
    pub(crate) fn begin(folder: &Path, data: &str) -> Process {
        let args = ["dev", "--data", data, "--templates", "templates", "--agents", "agents.yaml"];
        let free = ["--gateway-addr", "127.0.0.1:0", "--state-addr", "127.0.0.1:0"];
        let env = [("SLUICE_LEASE", "2s".to_owned())];
        Process::sluice(folder, &format!("{data}.log"), &[&args[..], &free[..]].concat(), &env)
    }

    /// Ready when this returns.
    pub(crate) async fn start(folder: &Path, data: &str) -> Self {
        Self::ready(Self::begin(folder, data)).await
    }

    /// The same with nothing but a data folder: the binary's own templates and agents.
    pub(crate) async fn start_plain(folder: &Path, data: &str, env: &[(&str, String)]) -> Self {
        let args = ["dev", "--data", data];
        let free = ["--gateway-addr", "127.0.0.1:0", "--state-addr", "127.0.0.1:0"];
        let log = format!("{data}.log");
        Self::ready(Process::sluice(folder, &log, &[&args[..], &free[..]].concat(), env)).await
    }

    async fn ready(mut process: Process) -> Self {
        let said = process.says("  API ").await;
        process.says("Ctrl-C stops").await;
        Self { process, api: Api::at(said.split_whitespace().nth(1).unwrap()) }
    }

    /// Its database, as the owner, from the file that it writes for other tools.
    pub(crate) async fn pool(folder: &Path, data: &str) -> PgPool {
        let text = std::fs::read_to_string(folder.join(data).join("connection.env")).unwrap();
        let line =
            text.lines().find_map(|line| line.strip_prefix("export SLUICE_DATABASE_OWNER_URL='"));
        pool(line.unwrap().trim_end_matches('\'')).await
    }
}
