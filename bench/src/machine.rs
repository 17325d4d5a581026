//! Where the numbers come from: machine, versions, settings.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_servers::Versions;
use sqlx::PgPool;

/// What must be on for a number to count.
const DURABLE: [&str; 3] = ["fsync", "full_page_writes", "synchronous_commit"];
/// What else is worth knowing.
const OTHERS: [&str; 4] = ["wal_sync_method", "shared_buffers", "max_wal_size", "max_connections"];

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    pub(crate) sluice: &'static str,
    pub(crate) build: &'static str,
    pub(crate) nats: String,
    pub(crate) postgres: String,
    pub(crate) settings: BTreeMap<String, String>,
}

impl Machine {
    pub(crate) async fn look(pool: &PgPool, versions: &Versions) -> anyhow::Result<Self> {
        let field = |file: &str, key: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let memory_kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_kib / 1024,
            processor: field("/proc/cpuinfo", "model name"),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            sluice: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            nats: versions.nats.version.clone(),
            postgres: versions.postgres.version.clone(),
            settings: settings(pool, &[DURABLE.as_slice(), &OTHERS].concat()).await?,
        })
    }
}

/// Fails when what is committed may be lost with the machine.
pub(crate) async fn assert_durable(pool: &PgPool) -> anyhow::Result<()> {
    check(&settings(pool, &DURABLE).await?)
}

async fn settings(pool: &PgPool, names: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("select name, current_setting(name) from pg_settings where name = any($1)")
            .bind(names)
            .fetch_all(pool)
            .await?;
    Ok(rows.into_iter().collect())
}

fn check(settings: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for name in DURABLE {
        let value = settings.get(name).map_or("unknown", String::as_str);
        anyhow::ensure!(
            value == "on",
            "{name} is {value}: a number bought with durability is none"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_bought_with_durability() {
        let on: BTreeMap<String, String> =
            DURABLE.iter().map(|&name| (name.to_owned(), "on".to_owned())).collect();
        check(&on).unwrap();
        for name in DURABLE {
            for value in ["off", "local", "remote_write"] {
                let mut other = on.clone();
                other.insert(name.to_owned(), value.to_owned());
                let error = check(&other).unwrap_err().to_string();
                assert!(error.starts_with(&format!("{name} is {value}")), "{error}");
            }
            let mut missing = on.clone();
            missing.remove(name);
            assert!(check(&missing).is_err());
        }
    }
}
