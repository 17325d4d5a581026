//! Ends servers that outlived an earlier run which was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::datadir::{DataDir, remove_if_there};
use crate::error::{Error, Result};
use crate::options::Progress;
use crate::proc_table::{self, children_of, signal, wait_until, works_on};
use crate::supervised::Server;

const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Stops a NATS server that an earlier run on this folder has left.
pub(crate) fn stop_nats(data: &DataDir, progress: &Progress) -> Result<()> {
    stop(Server::Nats, &[data.nats_pid()], &data.nats(), progress)?;
    remove_if_there(&data.nats_pid())
}

/// Stops a PostgreSQL that an earlier run on this folder has left, and removes what would stop the
/// next one.
pub(crate) fn stop_postgres(data: &DataDir, cluster: &Path, progress: &Progress) -> Result<()> {
    let pid_files = [data.postgres_pid(), cluster.join("postmaster.pid")];
    stop(Server::Postgres, &pid_files, cluster, progress)?;
    // Children of a postmaster that was killed may outlive it.
    let gone = wait_until(KILL_LIMIT, || {
        let orphans = proc_table::postgres_in(cluster);
        orphans.iter().for_each(|pid| signal(*pid, Signal::KILL));
        orphans.is_empty()
    });
    if !gone {
        let pid = proc_table::postgres_in(cluster).first().copied().unwrap_or_default();
        return Err(Error::Survivor { pid, path: cluster.to_owned() });
    }
    // The pid in it may belong to a stranger by now, and PostgreSQL would not start for fear of it.
    // We know better: nobody else has the folder's lock, and nobody works in the cluster.
    remove_if_there(&cluster.join("postmaster.pid"))?;
    remove_if_there(&data.postgres_pid())
}

fn stop(server: Server, pid_files: &[PathBuf], path: &Path, progress: &Progress) -> Result<()> {
    let pids = pid_files.iter().filter_map(|file| first_number(file));
    let Some(pid) = pids.into_iter().find(|pid| works_on(*pid, path)) else { return Ok(()) };
    progress.say(format!("stopping {} of an earlier run (process {pid})", server.name()));
    signal(pid, Signal::CONT);
    for (how, limit) in server.stop_steps() {
        signal(pid, *how);
        if wait_until(*limit, || !works_on(pid, path)) {
            return Ok(());
        }
    }
    let children = children_of(pid);
    signal(pid, Signal::KILL);
    children.into_iter().for_each(|child| signal(child, Signal::KILL));
    match wait_until(KILL_LIMIT, || !works_on(pid, path)) {
        true => Ok(()),
        false => Err(Error::Survivor { pid, path: path.to_owned() }),
    }
}

fn first_number(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
}
