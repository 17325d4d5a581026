//! One process of ours: its own process group, its output in a file, killed with the test.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Between two looks at a process or its output.
const POLL: Duration = Duration::from_millis(10);
/// Longest wait for a process to say or do something.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A child with its group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// `sluice` with these arguments in an otherwise empty environment.
    pub fn sluice(folder: &Path, log: &str, args: &[&str], env: &[(&str, String)]) -> Self {
        let mut command = tied_to_us(&binary());
        command.args(args).current_dir(folder).env_clear();
        for name in ["PATH", "HOME", "SLUICE_CACHE_DIR", "SLUICE_NATS_SERVER", "SLUICE_PG_BIN"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(env.iter().map(|(name, value)| (name, value)));
        Self::spawn(command, &folder.join(log))
    }

    /// Any program. Output of an earlier process of the same log is replaced.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let output = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self { child: command.process_group(0).spawn().unwrap(), log: log.to_owned() }
    }

    /// Sends the process itself a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// What a terminal does on Ctrl-C, or a supervisor that is out of patience.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(self.pid(), signal).unwrap();
    }

    /// Kills the whole group and waits until the process is gone.
    pub async fn kill(mut self) {
        self.signal_group(Signal::KILL);
        self.ended(PATIENCE).await;
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "no end within {limit:?}:\n{}", self.output());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to stop and gives its exit code.
    pub async fn stopped_by(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.ended(PATIENCE).await.code()
    }

    /// Waits for a line with `text` in it.
    pub async fn says(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.output().lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            let status = self.child.try_wait().unwrap();
            assert!(status.is_none(), "{status:?} before '{text}':\n{}", self.output());
            assert!(Instant::now() < until, "never said '{text}':\n{}", self.output());
            tokio::time::sleep(POLL).await;
        }
    }

    /// What it has said so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group may outlive its leader, and then nobody else has its number.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(20).collect();
            eprintln!("--- the end of {}", self.log.display());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// The binary under test: cargo says where it is, and else it lies beside the folder of the tests.
fn binary() -> String {
    if let Ok(path) = std::env::var("CARGO_BIN_EXE_sluice") {
        return path;
    }
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().and_then(Path::parent).unwrap().join("sluice");
    built.to_str().unwrap().to_owned()
}

/// A program that the kernel also kills when the test binary itself is killed, where `setpriv` is installed.
pub fn tied_to_us(program: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder.join("setpriv").exists()) {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// Processes that have `text` in their command line.
pub fn processes_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let command_lines = entries.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(text).then(|| format!("{} {line}", entry.file_name().to_string_lossy()))
    });
    command_lines.collect()
}
