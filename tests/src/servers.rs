//! The pair of servers that a test binary shares.

use std::future::Future;
use std::path::PathBuf;
use std::sync::LazyLock;

use sluice_servers::{Options, Servers};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// Every test of a binary runs on this runtime, so that the servers outlive each single test.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let filter = std::env::var("SLUICE_LOG").unwrap_or_else(|_| "off".to_owned());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    // Only an error when somebody else has chosen a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
});

static SERVERS: OnceCell<Servers> = OnceCell::const_new();

/// Runs a test.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    RUNTIME.block_on(test)
}

/// The servers of this test binary. They end with it: the kernel tells them.
pub async fn servers() -> &'static Servers {
    start(Options::for_tests).await
}

/// The same for what measures: servers that flush what they commit. To be asked for before any others.
pub async fn durable_servers() -> &'static Servers {
    start(Options::new).await
}

async fn start(options: impl FnOnce(PathBuf) -> Options) -> &'static Servers {
    SERVERS
        .get_or_init(|| async {
            remove_leftovers();
            let options = options(folder(std::process::id()));
            // On a thread that lives as long as the process: a server dies with the thread that
            // started it.
            Servers::start(options).await.unwrap()
        })
        .await
}

fn folder(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("sluice-tests-{pid}"))
}

/// Folders of test binaries that are gone.
fn remove_leftovers() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("sluice-tests-").and_then(|pid| pid.parse::<u32>().ok())
        else {
            continue;
        };
        if !PathBuf::from(format!("/proc/{pid}")).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Urls of a fresh database: as the run-time role, and as the owner.
pub async fn database(name: &str) -> (String, String) {
    database_on(servers().await, name).await
}

/// The same on other servers.
pub async fn database_on(servers: &Servers, name: &str) -> (String, String) {
    let mut superuser = PgConnection::connect(&servers.superuser_url()).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("create database \"{name}\" owner sluice_owner")))
        .execute(&mut superuser)
        .await
        .unwrap();
    superuser.close().await.unwrap();
    let named = |url: String| {
        let (base, _) = url.rsplit_once('/').unwrap();
        format!("{base}/{name}")
    };
    (named(servers.database_url()), named(servers.database_owner_url()))
}
