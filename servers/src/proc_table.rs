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

/// Whether the process lives and is a program of PostgreSQL's. Its children call themselves
/// `postgres: checkpointer` and the like.
pub(crate) fn is_postgres(pid: i32) -> bool {
    command_line(pid).is_some_and(|line| is_postgres_line(&line))
}

/// PostgreSQL's processes in `cluster`: they all work in that folder, children without their parent
/// too. Somebody's shell that stands there is none of them. Empty where there is no `/proc`, and
/// for root in a container without the capability to trace, when the processes are another user's.
pub(crate) fn postgres_in(cluster: &Path) -> Vec<i32> {
    let works_there =
        |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == cluster);
    pids().filter(|pid| works_there(pid) && is_postgres(*pid)).collect()
}

/// PostgreSQL's programs that work in `cluster` or name it on their command line. Empty where there
/// is no `/proc`.
pub(crate) fn postgres_concerned_with(cluster: &Path) -> Vec<i32> {
    let named = pids().filter(|pid| works_on(*pid, cluster) && is_postgres(*pid));
    postgres_in(cluster).into_iter().chain(named).collect()
}

/// The children of a process.
pub(crate) fn children_of(parent: i32) -> Vec<i32> {
    if cfg!(target_os = "linux") {
        return pids().filter(|pid| parent_of(*pid) == Some(parent)).collect();
    }
    let Ok(output) = Command::new("ps").args(["-ax", "-o", "pid=,ppid="]).output() else {
        return Vec::new();
    };
    let pairs = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = |line: &str| -> Option<(i32, i32)> {
        let (pid, ppid) = line.trim().split_once(char::is_whitespace)?;
        Some((pid.parse().ok()?, ppid.trim().parse().ok()?))
    };
    pairs
        .lines()
        .filter_map(numbers)
        .filter(|(_, ppid)| *ppid == parent)
        .map(|(pid, _)| pid)
        .collect()
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

fn is_postgres_line(line: &str) -> bool {
    let program = line.split_whitespace().next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    matches!(name, "postgres" | "postgres:" | "initdb")
}

/// From `/proc/<pid>/stat`: pid, name in parentheses (which may hold anything), state, parent.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
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

    #[test]
    fn tells_postgres_from_somebody_who_reads_its_files() {
        for line in
            ["/usr/lib/postgresql/15/bin/postgres -D /c", "postgres: checkpointer ", "initdb -D /c"]
        {
            assert!(is_postgres_line(line), "{line}");
        }
        for line in ["-bash", "vim /c/postgres/postgresql.conf", "tail -f postgres.log"] {
            assert!(!is_postgres_line(line), "{line}");
        }
    }

    #[test]
    fn finds_children() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(children_of(own).contains(&i32::try_from(child.id()).unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
