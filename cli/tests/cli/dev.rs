//! `sluice dev` with real servers.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sluice_tests::processes::site::ASK;

use super::{Folder, run, sluice, told};

/// `sluice dev` on ports of its own; killed with the test.
struct Dev {
    child: Child,
    url: String,
}

impl Dev {
    fn start(folder: &Folder, more: &[&str]) -> Self {
        let (log, banner) = (folder.0.join("dev.log"), folder.0.join("banner.txt"));
        let child = sluice(folder)
            .args(["dev", "--data", "data", "--templates", "templates"])
            .args(["--gateway-addr", "127.0.0.1:0", "--state-addr", "127.0.0.1:0"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(File::create(&banner).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut dev = Self { child, url: String::new() };
        let shown = || std::fs::read_to_string(&banner).unwrap();
        dev.wait(Duration::from_secs(120), &log, |dev| {
            dev.has_ended() || shown().contains("Ctrl-C stops")
        });
        let banner = shown();
        let api = banner.lines().find_map(|line| line.trim().strip_prefix("API"));
        let url = api.and_then(|line| line.split_whitespace().next());
        dev.url = url
            .unwrap_or_else(|| panic!("no banner: {}", std::fs::read_to_string(&log).unwrap()))
            .to_owned();
        dev
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn wait(&mut self, limit: Duration, log: &Path, mut done: impl FnMut(&mut Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < limit, "{}", std::fs::read_to_string(log).unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its exit code.
    fn stop(mut self, folder: &Folder, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        self.wait(Duration::from_secs(60), &folder.0.join("dev.log"), Self::has_ended);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its servers die with it.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Processes that have the folder in their command line.
fn processes_of(folder: &Folder) -> usize {
    let path = folder.0.display().to_string();
    let commands = std::fs::read_dir("/proc").unwrap().flatten();
    commands
        .filter(|entry| {
            std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|c| c.contains(&path))
        })
        .count()
}

#[test]
fn dev_keeps_its_data_and_leaves_no_process() {
    let folder = Folder::new("dev");
    folder.write("templates/ask.workflow.yaml", ASK);

    let dev = Dev::start(&folder, &[]);
    let (code, out, err) =
        run(&folder, &["run", "ask", "--workflow-id", "ask-1", "--watch", "--url", &dev.url]);
    assert!(code == 0 && out.ends_with("Workflow ask-1: paused\n"), "{out}{err}");
    let (code, _, err) = told(sluice(&folder).args(["dev", "--data", "data"]).output().unwrap());
    assert!(code == 1 && (err.contains("in use") || err.contains("taken")), "{err}");
    assert_eq!(dev.stop(&folder, "-TERM"), Some(0));
    assert_eq!(processes_of(&folder), 0);

    let dev = Dev::start(&folder, &[]);
    let (code, _, err) =
        run(&folder, &["resume", "ask-1", "approved", "--approver", "alice", "--url", &dev.url]);
    assert_eq!(code, 0, "{err}");
    let (code, out, _) = run(&folder, &["watch", "ask-1", "--url", &dev.url]);
    assert!(code == 0 && out.ends_with("Workflow ask-1: completed\n"), "{out}");
    assert_eq!(dev.stop(&folder, "-INT"), Some(0));

    let dev = Dev::start(&folder, &["--fresh"]);
    let (code, out, _) = run(&folder, &["list", "-o", "json", "--url", &dev.url]);
    assert_eq!((code, out.trim()), (0, "[]"));
    assert_eq!(dev.stop(&folder, "-TERM"), Some(0));
}

#[test]
fn a_server_that_dies_ends_dev_with_its_log() {
    let folder = Folder::new("death");
    folder.write("templates/ask.workflow.yaml", ASK);
    let mut dev = Dev::start(&folder, &[]);
    let pid = std::fs::read_to_string(folder.0.join("data/nats-server.pid")).unwrap();
    let pid: String = pid.chars().filter(char::is_ascii_digit).collect();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    let log = folder.0.join("dev.log");
    dev.wait(Duration::from_secs(30), &log, Dev::has_ended);
    assert_eq!(dev.child.wait().unwrap().code(), Some(1));
    let said = std::fs::read_to_string(log).unwrap();
    assert!(
        said.contains("nats-server ended unexpectedly") && said.contains("Server is ready"),
        "{said}"
    );
    assert_eq!(processes_of(&folder), 0);
}

#[test]
fn foreign_folders_are_refused() {
    let folder = Folder::new("foreign");
    folder.write("precious/thesis.txt", "years");
    for more in [&["--fresh"][..], &[]] {
        let dev = sluice(&folder)
            .args([
                "dev",
                "--data",
                "precious",
                "--gateway-addr",
                "127.0.0.1:0",
                "--state-addr",
                "127.0.0.1:0",
            ])
            .args(more)
            .output();
        let (code, _, err) = told(dev.unwrap());
        assert!(code == 1 && err.contains("--data"), "{err}");
    }
    assert!(folder.0.join("precious/thesis.txt").exists());
}
