//! One server under supervision: start, stop, kill, freeze, and the news of its death.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::command::{Identity, last_lines};
use crate::error::{Error, IoContext, Result};
use crate::options::Durability;
use crate::ports::Reservation;
use crate::process::Process;
use crate::{nats, postgres, proc_table};

const POLL: Duration = Duration::from_millis(20);
/// How long a killed process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 20;
/// What PostgreSQL says when children of a killed postmaster still end.
const ORPHANS_STILL_END: &str = "pre-existing shared memory block";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// nats-server.
    Nats,
    /// PostgreSQL.
    Postgres,
}

impl Server {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// How it is asked to stop, and how long each way may take before the next is tried. SIGKILL
    /// follows.
    pub(crate) fn stop_steps(self) -> &'static [(Signal, Duration)] {
        const NATS: [(Signal, Duration); 1] = [(Signal::TERM, Duration::from_secs(5))];
        // Fast shutdown, which writes a checkpoint; then an immediate one, which leaves that to the
        // next start.
        const POSTGRES: [(Signal, Duration); 2] =
            [(Signal::INT, Duration::from_secs(20)), (Signal::QUIT, Duration::from_secs(3))];
        match self {
            Self::Nats => &NATS,
            Self::Postgres => &POSTGRES,
        }
    }

    /// What the kernel sends when we die: what stops durable servers cleanly, or test servers at
    /// once.
    fn death_signal(self, durability: Durability) -> &'static str {
        match (self, durability) {
            (Self::Nats, Durability::Full) => "TERM",
            (Self::Nats, Durability::Test) => "KILL",
            (Self::Postgres, Durability::Full) => "INT",
            // Unlike a killed postmaster, this one takes its children along before it goes.
            (Self::Postgres, Durability::Test) => "QUIT",
        }
    }
}

/// A server that ended although nobody here had asked it to.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Which server.
    pub server: Server,
    /// Its exit status, in words.
    pub status: String,
    /// Its log file.
    pub log: PathBuf,
    /// The end of its log file.
    pub tail: String,
}

/// Which server, and how we know that it is ours that answers.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    /// NATS says its name.
    ServerName(String),
    /// PostgreSQL's processes work in their cluster.
    Cluster(PathBuf),
}

/// How a server is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) mark: Mark,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) identity: Identity,
    pub(crate) durability: Durability,
    pub(crate) log: PathBuf,
    pub(crate) pid_file: PathBuf,
    pub(crate) port: u16,
    pub(crate) limit: Duration,
}

/// A server that can be started again and again with the same settings.
#[derive(Debug)]
pub(crate) struct Supervised {
    launch: Launch,
    reservation: Mutex<Option<Reservation>>,
    running: Mutex<Option<Running>>,
    deaths: watch::Sender<Option<Exit>>,
}

#[derive(Clone, Debug)]
struct Running {
    process: Arc<Process>,
    /// Whether the end of the process is somebody's wish, or reported otherwise.
    end_expected: Arc<AtomicBool>,
    /// Where in the log file its lines begin.
    log_start: u64,
}

impl Supervised {
    pub(crate) fn new(
        launch: Launch,
        reservation: Reservation,
        deaths: watch::Sender<Option<Exit>>,
    ) -> Self {
        Self {
            launch,
            reservation: Mutex::new(Some(reservation)),
            running: Mutex::new(None),
            deaths,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.launch.port
    }

    /// The process id while the server runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        let running = self.running()?;
        running.process.exit_status().is_none().then(|| running.process.pid().unsigned_abs())
    }

    /// Starts the server and waits until it accepts connections.
    pub(crate) async fn start(&self) -> Result<()> {
        if self.pid().is_some() {
            return Err(self.wrong_state("runs already"));
        }
        let deadline = Instant::now() + self.launch.limit;
        loop {
            let running = self.spawn()?;
            match self.wait_ready(&running, deadline).await {
                Ok(()) => break,
                Err(Error::EndedEarly { tail, .. })
                    if tail.contains(ORPHANS_STILL_END) && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
            sleep(POLL).await;
        }
        self.forget_death();
        Ok(())
    }

    /// Asks the server to stop, waits, and kills it when it does not.
    pub(crate) async fn stop(&self) {
        let Some(running) = self.take_running() else { return };
        self.signal_all(&running, Signal::CONT);
        for (signal, limit) in self.launch.server().stop_steps() {
            running.process.signal(*signal);
            if running.process.wait(*limit).await.is_some() {
                break;
            }
            let name = self.launch.server().name();
            tracing::warn!("{name} did not stop within {} s of {signal:?}", limit.as_secs());
        }
        self.finish(&running).await;
    }

    /// Kills the server, as a crash would, and waits until nothing of it is left.
    pub(crate) async fn kill(&self) -> Result<()> {
        let running = self.take_running().ok_or_else(|| self.wrong_state("does not run"))?;
        self.finish(&running).await;
        Ok(())
    }

    /// Kills what is left, without waiting for anything but the kernel.
    pub(crate) fn kill_now(&self) {
        let Some(running) = self.take_running() else { return };
        let mut helpers = self.helpers(&running);
        proc_table::wait_until(KILL_LIMIT, || self.sweep(&running, &mut helpers));
        let _ = fs::remove_file(&self.launch.pid_file);
    }

    /// Freezes or thaws the server with all its processes.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let running = self.running().ok_or_else(|| self.wrong_state("does not run"))?;
        self.signal_all(&running, if frozen { Signal::STOP } else { Signal::CONT });
        Ok(())
    }

    pub(crate) fn wrong_state(&self, problem: &'static str) -> Error {
        Error::WrongState { server: self.launch.server().name(), problem }
    }

    fn spawn(&self) -> Result<Running> {
        let launch = &self.launch;
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&launch.log)
            .doing("open", &launch.log)?;
        let log_start = log.metadata().doing("look at", &launch.log)?.len();
        let command = launch.command(log)?;
        let end_expected = Arc::new(AtomicBool::new(true));
        let on_exit = {
            let (deaths, expected) = (self.deaths.clone(), Arc::clone(&end_expected));
            let (server, log) = (launch.server(), launch.log.clone());
            move |status: std::process::ExitStatus| {
                if !expected.load(Ordering::SeqCst) {
                    let tail = tail_of(&log, log_start);
                    deaths.send_replace(Some(Exit {
                        server,
                        status: status.to_string(),
                        log,
                        tail,
                    }));
                }
            }
        };
        drop(lock(&self.reservation).take());
        let process = Process::spawn(command, on_exit).doing("run", &launch.program)?;
        let running = Running { process: Arc::new(process), end_expected, log_start };
        // First of all remember it, so that whatever happens next somebody ends it.
        *lock(&self.running) = Some(running.clone());
        fs::write(&launch.pid_file, format!("{}\n", running.process.pid()))
            .doing("write", &launch.pid_file)?;
        Ok(running)
    }

    async fn wait_ready(&self, running: &Running, deadline: Instant) -> Result<()> {
        loop {
            let seen = self.launch.look(running.process.pid()).await;
            if let Some(status) = running.process.exit_status() {
                return Err(self.ended_early(running, status.to_string()));
            }
            let Err(last) = seen else { break };
            if Instant::now() >= deadline {
                return Err(self.not_ready(running, last));
            }
            sleep(POLL).await;
        }
        running.end_expected.store(false, Ordering::SeqCst);
        // It may have ended just before; then nobody has reported it.
        match running.process.exit_status() {
            Some(status) => Err(self.ended_early(running, status.to_string())),
            None => Ok(()),
        }
    }

    /// What was said about the server's last death is no news any more.
    fn forget_death(&self) {
        let server = self.launch.server();
        self.deaths.send_if_modified(|death| death.take_if(|exit| exit.server == server).is_some());
    }

    async fn finish(&self, running: &Running) {
        let deadline = Instant::now() + KILL_LIMIT;
        let mut helpers = self.helpers(running);
        while !self.sweep(running, &mut helpers) {
            if Instant::now() >= deadline {
                tracing::error!("{} cannot be killed", self.launch.server().name());
                return;
            }
            sleep(POLL).await;
        }
        let _ = fs::remove_file(&self.launch.pid_file);
    }

    /// Kills what lives of the server and says whether nothing does. Who was a child is remembered
    /// in `helpers`: once the parent is dead, that cannot be seen any more.
    fn sweep(&self, running: &Running, helpers: &mut Vec<i32>) -> bool {
        helpers.retain(|pid| proc_table::is_postgres(*pid));
        helpers.extend(self.helpers(running));
        if helpers.is_empty() && running.process.exit_status().is_some() {
            return true;
        }
        // The main process first: a postmaster that sees a child killed would start a recovery.
        running.process.signal(Signal::KILL);
        helpers.iter().for_each(|pid| proc_table::signal(*pid, Signal::KILL));
        false
    }

    fn signal_all(&self, running: &Running, signal: Signal) {
        let helpers = self.helpers(running);
        running.process.signal(signal);
        helpers.iter().for_each(|pid| proc_table::signal(*pid, signal));
    }

    /// PostgreSQL's processes besides the postmaster, with or without it.
    fn helpers(&self, running: &Running) -> Vec<i32> {
        let Mark::Cluster(cluster) = &self.launch.mark else { return Vec::new() };
        let postmaster = running.process.pid();
        let mut pids = proc_table::postgres_in(cluster);
        if running.process.exit_status().is_none() {
            pids.extend(proc_table::children_of(postmaster));
        }
        pids.retain(|pid| *pid != postmaster);
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn running(&self) -> Option<Running> {
        lock(&self.running).clone()
    }

    fn take_running(&self) -> Option<Running> {
        let running = lock(&self.running).take()?;
        running.end_expected.store(true, Ordering::SeqCst);
        Some(running)
    }

    fn ended_early(&self, running: &Running, status: String) -> Error {
        let (server, log) = (self.launch.server().name(), self.launch.log.clone());
        let tail = tail_of(&log, running.log_start);
        Error::EndedEarly { server, status, log, tail }
    }

    fn not_ready(&self, running: &Running, last: String) -> Error {
        let (server, log) = (self.launch.server().name(), self.launch.log.clone());
        let tail = tail_of(&log, running.log_start);
        Error::NotReady { server, seconds: self.launch.limit.as_secs(), last, log, tail }
    }
}

impl Launch {
    fn server(&self) -> Server {
        match self.mark {
            Mark::ServerName(_) => Server::Nats,
            Mark::Cluster(_) => Server::Postgres,
        }
    }

    fn command(&self, log: File) -> Result<Command> {
        let mut command =
            self.identity.command(&self.program, self.server().death_signal(self.durability));
        let errors = log.try_clone().doing("open", &self.log)?;
        command.args(&self.arguments).stdout(log).stderr(errors);
        Ok(command)
    }

    async fn look(&self, pid: i32) -> std::result::Result<(), String> {
        match &self.mark {
            Mark::ServerName(name) => nats::look(self.port, name).await,
            Mark::Cluster(cluster) => postgres::look(self.port, cluster, pid).await,
        }
    }
}

fn tail_of(log: &Path, start: u64) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&bytes), TAIL_LINES)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
