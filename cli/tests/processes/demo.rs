//! `sluice demo`, again and again on the same data folder.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use sluice_tests::run;

use super::shop::Shop;
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::process::{Process, processes_with};

const LIMIT: Duration = Duration::from_secs(240);

/// Started, at ports that are free.
fn demo(folder: &Folder, name: &str, more: &[&str]) -> Process {
    let free = || "127.0.0.1:0".to_owned();
    let env = [("SLUICE_GATEWAY_ADDR", free()), ("SLUICE_STATE_ADDR", free())];
    begin(folder, name, more, &env)
}

fn begin(folder: &Folder, name: &str, more: &[&str], env: &[(&str, String)]) -> Process {
    let args = [&["demo", "--data", "data"], more].concat();
    Process::sluice(folder.path(), &format!("{name}.log"), &args, env)
}

/// Its output, once it has ended well by itself.
async fn ended_well(mut demo: Process) -> String {
    let status = demo.ended(LIMIT).await;
    assert_eq!(status.code(), Some(0), "{}", demo.output());
    demo.output()
}

/// The version that the demo fetched from a slot.
fn version<'a>(said: &'a str, slot: &str) -> &'a str {
    let fetched =
        |line: &&str| line.starts_with(&format!("  {slot} ")) && line.contains("(before: ");
    let line = said.lines().find(fetched);
    line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn it_goes_to_production_or_back_however_it_was_stopped_before() {
    run(async {
        let folder = Folder::new("demo");
        let shop = Shop::in_folder(folder.path().join("data/demo"));

        let mut interrupted = demo(&folder, "interrupted", &[]);
        interrupted.says("▸ run_tests by cicd").await;
        // A terminal sends its Ctrl-C to everybody.
        interrupted.signal_group(Signal::INT);
        ended_well(interrupted).await;

        let said = ended_well(demo(&folder, "approved", &["--approve"])).await;
        assert!(said.contains("was interrupted and goes on first"), "{said}");
        assert!(said.contains(" completed after ") && said.contains("█ work"), "{said}");
        assert!(said.contains(r#""gift_wrap":true"#), "{said}");
        let new = version(&said, "production");
        assert_eq!(new, version(&said, "staging"));
        assert_eq!(shop.health("production").await["version"], new, "it serves on afterwards");
        assert!(shop.git(&["show", "main:CHANGELOG.md"]).contains("- #12: Offer gift wrapping"));
        let merged = shop.git(&["log", "--merges", "--format=%s", "main"]);
        assert_eq!(merged, "Merge feature/gift-wrap\n");
        let servers = processes_with(&folder.path().join("data/nats").display().to_string());
        assert!(servers.is_empty(), "{servers:?}");

        // Where the usual ports are taken by others, or by us, any will do.
        let _taken = ["127.0.0.1:8001", "127.0.0.1:8008"].map(TcpListener::bind);
        let said = ended_well(begin(&folder, "broken", &["--break"], &[])).await;
        assert!(said.contains("127.0.0.1:8001 is taken; the demo uses another port"), "{said}");
        assert!(said.contains(" rolled_back after ") && said.contains("settings lack"), "{said}");
        assert_eq!(version(&said, "production"), "1.0.0");
        assert_ne!(version(&said, "staging"), "1.0.0");
        assert_eq!(shop.health("production").await["version"], "1.0.0");

        decided_elsewhere(&folder).await;
    });
}

/// Without --approve it says how, waits, and shows the rest.
async fn decided_elsewhere(folder: &Folder) {
    let mut demo = demo(folder, "asked", &[]);
    let line = demo.says(" approved --approver you").await;
    let line = format!("exec {}", line.trim());
    let approved = Command::new("sh").arg("-c").arg(&line).env_clear().output().unwrap();
    assert!(approved.status.success(), "{line}: {approved:?}");
    demo.says(" completed after ").await;
    demo.says("Ctrl-C stops it").await;
    assert!(demo.output().contains("approved by you"), "{}", demo.output());
    demo.signal(Signal::INT);
    let said = ended_well(demo).await;
    assert!(said.contains("services of the example run on"), "{said}");
}
