//! File locks that vanish with the process that holds them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Error, IoContext, Result};
use crate::proc_table;

/// An exclusive lock. It is given back when this value, or the process, is gone; programs that are started
/// meanwhile do not inherit it.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a process that another thread has forked, and that has not yet become its
    /// program, still has it open.
    fn drop(&mut self) {
        // Whoever cannot unlock leaves it to the kernel.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Takes the lock or says who holds it.
    pub(crate) fn try_take(path: &Path) -> Result<std::result::Result<Self, String>> {
        let mut file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                note_holder(&mut file).doing("write", path)?;
                Ok(Ok(Self(file)))
            }
            Err(Errno::WOULDBLOCK) => Ok(Err(holder(&mut file))),
            Err(errno) => {
                Err(Error::Io { doing: "lock", path: path.to_owned(), source: errno.into() })
            }
        }
    }

    /// Takes the lock, calling `on_wait` with the holder when that does not succeed at once.
    pub(crate) fn take(path: &Path, on_wait: impl FnOnce(&str)) -> Result<Self> {
        match Self::try_take(path)? {
            Ok(lock) => return Ok(lock),
            Err(holder) => on_wait(&holder),
        }
        let mut file = open(path)?;
        flock(&file, FlockOperation::LockExclusive).doing("lock", path)?;
        note_holder(&mut file).doing("write", path)?;
        Ok(Self(file))
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .doing("open", path)
}

fn note_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // The holder may be between taking the lock and writing its pid; then the name is missing,
    // which is no reason to fail.
    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
    pid.map_or_else(|| "another process".to_owned(), proc_table::describe)
}
