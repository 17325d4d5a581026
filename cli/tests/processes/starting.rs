//! What is said when something is missing at the start.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use sluice_tests::run;

use super::dev::Dev;
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::process::Process;
use sluice_tests::processes::site::Site;

/// A role may wait this long for a server that is only slow.
const LIMIT: Duration = Duration::from_secs(45);

/// A port of this machine at which nothing listens.
fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Its exit code and what it said.
async fn gives_up(mut process: Process) -> (Option<i32>, String) {
    let started = Instant::now();
    let code = process.ended(LIMIT).await.code();
    println!("gave up after {:?}", started.elapsed());
    let said = process.output();
    (code, said.lines().find(|line| line.starts_with("error: ")).unwrap_or(&said).to_owned())
}

#[test]
fn every_role_says_that_nats_is_missing() {
    run(async {
        let mut site = Site::shared("no-nats").await;
        let port = unused_port();
        site.nats_url = format!("nats://user:hush@127.0.0.1:{port}");
        site.agents("agents: {}\n");
        site.template("none", "");
        let roles =
            ["coordinator", "worker", "gateway"].map(|role| gives_up(site.start(role, &[role])));
        for (code, said) in futures::future::join_all(roles).await {
            assert_eq!(code, Some(3), "{said}");
            for part in [format!("127.0.0.1:{port}"), "SLUICE_NATS_URL".to_owned()] {
                assert!(said.contains(&part) && !said.contains("hush"), "{said}");
            }
        }
        // Long before they give up they say what they wait for.
        for role in ["coordinator", "worker", "gateway"] {
            let log =
                std::fs::read_to_string(site.folder.path().join(format!("{role}.log"))).unwrap();
            assert!(log.contains("NATS does not answer yet") && !log.contains("hush"), "{log}");
        }
    });
}

#[test]
fn a_coordinator_says_that_postgres_is_missing() {
    run(async {
        let mut site = Site::shared("no-postgres").await;
        let port = unused_port();
        site.database_url = format!("postgres://user:hush@127.0.0.1:{port}/sluice");
        site.database_owner_url = site.database_url.clone();
        site.agents("agents: {}\n");
        site.template("none", "");
        let (code, said) = gives_up(site.start("coordinator", &["coordinator"])).await;
        assert_eq!(code, Some(3), "{said}");
        for part in ["PostgreSQL", &format!("127.0.0.1:{port}"), "SLUICE_DATABASE_URL"] {
            assert!(said.contains(part) && !said.contains("hush"), "no '{part}': {said}");
        }
    });
}

#[test]
fn a_taken_port_is_named_with_the_flag_that_changes_it() {
    run(async {
        let folder = Folder::new("taken");
        folder.write("templates/none.workflow.yaml", "");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap().to_string();
        for flag in ["--gateway-addr", "--state-addr"] {
            let other = if flag == "--state-addr" { "--gateway-addr" } else { "--state-addr" };
            let args = ["dev", "--data", "data", flag, &addr, other, "127.0.0.1:0"];
            let (code, said) =
                gives_up(Process::sluice(folder.path(), "dev.log", &args, &[])).await;
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(&addr) && said.contains(flag) && !said.contains(other), "{said}");
        }
        assert!(
            !folder.path().join("data").exists(),
            "something was made before the port was looked at"
        );
    });
}

#[test]
fn a_data_folder_in_use_is_not_touched() {
    run(async {
        let folder = Folder::new("in-use");
        folder.write("templates/none.workflow.yaml", "");
        folder.write("agents.yaml", "agents: {}\n");
        let dev = Dev::start(folder.path(), "data").await;
        let args = [
            "dev",
            "--data",
            "data",
            "--gateway-addr",
            "127.0.0.1:0",
            "--state-addr",
            "127.0.0.1:0",
        ];
        let (code, said) = gives_up(Process::sluice(folder.path(), "second.log", &args, &[])).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("in use"), "{said}");
        assert_eq!(dev.api.get("/health").await.unwrap().0, 200);
    });
}
