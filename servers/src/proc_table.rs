//! Looks at processes that are not our children: who they are, whether they live, where they work.
//!
//! On Linux this reads `/proc`. Elsewhere `ps` answers what it can; the rest is empty, and callers
//! must do without.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const POLL: Duration = Duration::from_millis(10);

/// The command line of a living process, arguments separated by blanks. A zombie has none.
pub(crate) fn command_line(pid: i32) -> Option<String> {
    let line = if cfg!(target_os = "linux") {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    } else {
        let output = Command::new("ps")
            .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
            .output()
            .ok()?;
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// `process 17 (nats-server -c …)`, for messages.
pub(crate) fn describe(pid: i32) -> String {
    match command_line(pid) {
        Some(line) => format!("process {pid} ({})", line.chars().take(80).collect::<String>()),
        None => format!("process {pid}"),
    }
}

/// Whether the process lives and names `path` on its command line, so that a pid given to somebody
/// else is not taken for ours.
pub(crate) fn works_on(pid: i32, path: &Path) -> bool {
    command_line(pid).is_some_and(|line| line.contains(&*path.to_string_lossy()))
}

/// Every process whose working folder is `folder`. PostgreSQL's processes all work in their
/// cluster, children without their parent too. Empty where there is no `/proc`.
pub(crate) fn working_in(folder: &Path) -> Vec<i32> {
    pids()
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder))
        .collect()
}

/// Every process that works in `path` or names it on its command line. Empty where there is no
/// `/proc`.
pub(crate) fn concerned_with(path: &Path) -> Vec<i32> {
    let named = pids().filter(|pid| works_on(*pid, path));
    working_in(path).into_iter().chain(named).collect()
}

/// The process that has the socket with this inode open, if we may see it.
pub(crate) fn owner_of_socket(inode: &str) -> Option<i32> {
    let target = format!("socket:[{inode}]");
    pids().find(|pid| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == target.as_str())
        })
    })
}

/// Sends a signal; a process that is gone already is no error.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Waits until `done` says so, at most `limit`. Blocks the thread.
pub(crate) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_and_not_a_pid_that_cannot_be() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(command_line(own).is_some());
        assert!(command_line(i32::MAX).is_none());
        assert!(!works_on(own, Path::new("/no/such/cluster")));
    }
}
