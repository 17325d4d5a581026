//! One process behind links of its own.

use rustix::process::Signal;
use sluice_servers::Servers;
use sluice_tests::processes::process::Process;
use sluice_tests::processes::proxy::{Proxy, port};
use sluice_tests::processes::site::Site;

pub(crate) struct Member {
    name: &'static str,
    arguments: Vec<String>,
    ready: &'static str,
    settings: Vec<(&'static str, String)>,
    pub(crate) nats: Proxy,
    pub(crate) postgres: Option<Proxy>,
    process: Option<Process>,
    starts: u32,
}

impl Member {
    pub(crate) async fn coordinator(name: &'static str, site: &Site, servers: &Servers) -> Self {
        let postgres = Proxy::to(port(&servers.database_url())).await;
        let urls = [
            ("SLUICE_DATABASE_URL", postgres.rewrite(&site.database_url)),
            ("SLUICE_DATABASE_OWNER_URL", postgres.rewrite(&site.database_owner_url)),
        ];
        let mut member = Self::new(name, &["coordinator"], "coordinator is ready", servers).await;
        member.settings.extend(urls);
        member.postgres = Some(postgres);
        member
    }

    pub(crate) async fn worker(name: &'static str, concurrency: usize, servers: &Servers) -> Self {
        let concurrency = concurrency.to_string();
        let arguments = ["worker", "--concurrency", &concurrency];
        let mut member = Self::new(name, &arguments, "worker started", servers).await;
        member.settings.push(("SLUICE_AGENTS_FILE", format!("{name}.yaml")));
        member.settings.push(("SLUICE_WORKER_NAME", name.to_owned()));
        member
    }

    pub(crate) async fn gateway(servers: &Servers) -> Self {
        Self::new("gateway", &["gateway"], "gateway listens", servers).await
    }

    async fn new(
        name: &'static str,
        arguments: &[&str],
        ready: &'static str,
        servers: &Servers,
    ) -> Self {
        let nats = Proxy::to(port(&servers.nats_url())).await;
        let settings = vec![("SLUICE_NATS_URL", nats.rewrite(&servers.nats_url()))];
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { name, arguments, ready, settings, nats, postgres: None, process: None, starts: 0 }
    }

    /// Ready when this returns; gives the line in which it said so.
    pub(crate) async fn start(&mut self, site: &Site) -> String {
        self.starts += 1;
        let log = format!("{}-{}", self.name, self.starts);
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut process = site.start_with(&log, &arguments, &self.settings);
        let said = process.says(self.ready).await;
        self.process = Some(process);
        said
    }

    /// From the next start on it listens there.
    pub(crate) fn keep_address(&mut self, address: &str) {
        self.settings.push(("SLUICE_GATEWAY_ADDR", address.to_owned()));
    }

    pub(crate) async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    pub(crate) fn stop(&self) {
        self.process.as_ref().unwrap().signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.process.as_ref().unwrap().signal(Signal::CONT);
    }

    /// What it said since its last start.
    pub(crate) fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }
}
