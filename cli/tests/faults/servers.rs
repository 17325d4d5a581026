//! Servers that are struck.

use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use sluice_servers::Server;
use sluice_tests::processes::proxy::Link;

use super::scene::Scene;

impl Scene<'_> {
    pub(crate) async fn kill_server(&mut self, server: Server) {
        match server {
            Server::Nats => {
                self.servers.kill_nats().await.unwrap();
                self.servers.start_nats().await.unwrap();
            }
            Server::Postgres => {
                self.servers.kill_postgres().await.unwrap();
                self.servers.start_postgres().await.unwrap();
            }
        }
    }

    pub(crate) async fn stop_server(&mut self, server: Server, lasting: Duration) {
        self.servers.suspend(server).unwrap();
        tokio::time::sleep(lasting).await;
        self.servers.resume(server).unwrap();
    }

    /// As a package upgrade does it: connections are ended, what was committed is written.
    pub(crate) async fn restart_postgres(&mut self) {
        let pid = self.servers.pids().postgres.unwrap();
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        self.servers.exited().await;
        self.servers.start_postgres().await.unwrap();
    }

    pub(crate) async fn refuse_postgres(&mut self, lasting: Duration) {
        let links = || self.coordinators.iter().filter_map(|member| member.postgres.as_ref());
        links().for_each(|link| link.set(Link::Cut));
        tokio::time::sleep(lasting).await;
        links().for_each(|link| link.set(Link::Up));
        self.struck.healed = Some(SystemTime::now());
    }

    pub(crate) async fn wipe_nats(&mut self) {
        self.servers.kill_nats().await.unwrap();
        self.servers.wipe_nats().unwrap();
        self.servers.start_nats().await.unwrap();
    }
}
