//! A real NATS server for one test, gone with it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sluice_bus::{Bus, BusConfig};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A private server with JetStream on a port of its own.
pub(crate) struct NatsServer {
    child: Option<Child>,
    folder: PathBuf,
    port: u16,
    extra: Vec<&'static str>,
}

impl NatsServer {
    pub(crate) fn start(extra: &[&'static str]) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("sluice-nats-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { child: None, folder, port, extra: extra.to_vec() };
        server.resume();
        server
    }

    /// Kills it; what it had on disk stays.
    pub(crate) fn interrupt(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again, same port and folder.
    pub(crate) fn resume(&mut self) {
        let child = Command::new(binary())
            .args([
                "--addr",
                "127.0.0.1",
                "--port",
                &self.port.to_string(),
                "--jetstream",
                "--store_dir",
            ])
            .arg(&self.folder)
            .args(&self.extra)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn bus(&self, role: &'static str) -> Bus {
        let mut config = BusConfig::new(self.url(), "t", role);
        config.connect_timeout = Duration::from_secs(20);
        Bus::connect(config).await.unwrap()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.interrupt();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn binary() -> PathBuf {
    sluice_servers::nats_server(&sluice_servers::Progress::default()).unwrap().path
}
