//! One child process: spawned, signalled, and reaped by a thread of its own.

use std::io;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

/// A running child. Dropping it does not end the process: its owner decides how that happens.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    reaped: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Spawns the command; `on_exit` runs after it has been reaped.
    ///
    /// The child is forked by the very thread that later waits for it. The kernel sends the
    /// parent-death signal when the forking *thread* ends, so a thread of somebody's runtime or
    /// test would take the server with it.
    pub(crate) fn spawn(
        command: Command,
        on_exit: impl FnOnce(ExitStatus) + Send + 'static,
    ) -> io::Result<Self> {
        let (spawned, started) = mpsc::sync_channel(1);
        let (exited, exit) = watch::channel(None);
        let reaped = Arc::new(Mutex::new(false));
        let shared = Arc::clone(&reaped);
        std::thread::Builder::new()
            .name("sluice-reaper".to_owned())
            .spawn(move || spawn_and_reap(command, &spawned, &shared, &exited, on_exit))?;
        let pid = started.recv().map_err(io::Error::other)??;
        Ok(Self { pid, reaped, exit })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal unless the process has ended. Never hits a stranger: a pid is free for others
    /// only after it was reaped, and reaping needs the same lock.
    pub(crate) fn signal(&self, signal: Signal) {
        let reaped = lock(&self.reaped);
        if !*reaped {
            let _ = kill_process(self.pid, signal);
        }
    }

    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for the end, at most `limit`.
    pub(crate) async fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let mut exit = self.exit.clone();
        let ended = tokio::time::timeout(limit, exit.wait_for(Option::is_some)).await;
        ended.ok().and_then(Result::ok).and_then(|status| *status)
    }
}

fn spawn_and_reap(
    mut command: Command,
    spawned: &mpsc::SyncSender<io::Result<Pid>>,
    reaped: &Mutex<bool>,
    exited: &watch::Sender<Option<ExitStatus>>,
    on_exit: impl FnOnce(ExitStatus),
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = spawned.send(Err(error));
            return;
        }
    };
    let pid = Pid::from_child(&child);
    let _ = spawned.send(Ok(pid));
    // First wait without reaping, so that nobody has to hold the lock for as long as the child
    // lives.
    while let Err(rustix::io::Errno::INTR) =
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {}
    let status = {
        let mut reaped = lock(reaped);
        *reaped = true;
        child.wait()
    };
    match status {
        Ok(status) => {
            exited.send_replace(Some(status));
            on_exit(status);
        }
        Err(error) => tracing::error!(pid = child.id(), "cannot wait for a child: {error}"),
    }
}

fn lock(reaped: &Mutex<bool>) -> MutexGuard<'_, bool> {
    reaped.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_the_exit_and_ignores_signals_afterwards() {
        let (said, heard) = mpsc::channel();
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::spawn(command, move |status| said.send(status).unwrap()).unwrap();
        assert!(process.wait(Duration::from_millis(20)).await.is_none());
        process.signal(Signal::TERM);
        let status = process.wait(Duration::from_secs(5)).await.unwrap();
        assert_eq!(heard.recv().unwrap(), status);
        process.signal(Signal::KILL);
    }

    #[test]
    fn a_missing_program_is_an_error() {
        assert!(Process::spawn(Command::new("/no/such/program"), |_| {}).is_err());
    }
}
