//! How every program of ours is called: with a clean environment, from `/`, as the right user, and
//! tied to our own life.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::user::User;

/// What a server needs of our environment. Keys and tokens are none of its business.
const PASSED_ON: [&str; 4] = ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// Who runs a program, and what it gets when we are killed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    /// `None` means ourselves.
    pub(crate) user: Option<User>,
    /// Whether the kernel shall signal it when we die.
    pub(crate) die_with_parent: bool,
}

impl Identity {
    /// A command that gets `death_signal` (a name such as `KILL`) when we die, if that was asked
    /// for and is possible here.
    pub(crate) fn command(&self, program: &Path, death_signal: &str) -> Command {
        let mut command = match setpriv().filter(|_| self.die_with_parent) {
            // setpriv replaces itself, so the pid stays. It runs after the change of user, which
            // would clear the setting.
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", death_signal, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Some(user) = &self.user {
            // The standard library also drops root's supplementary groups with this.
            command.uid(user.uid).gid(user.gid);
        }
        command.env_clear();
        command.envs(PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/").stdin(Stdio::null());
        command
    }
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn run(mut command: Command, input: &str) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early breaks the pipe; its output says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

/// The end of what a program said, for an error message.
pub(crate) fn last_words(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&said);
    last_lines(&text, 12)
}

/// The last `count` lines that are not empty.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A `setpriv` that knows parent-death signals; the one of busybox does not.
fn setpriv() -> Option<&'static Path> {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    let works = |path: &PathBuf| {
        let mut probe = Command::new(path);
        probe.args(["--pdeathsig", "KILL", "--", "true"]).stdin(Stdio::null());
        probe.output().is_ok_and(|output| output.status.success())
    };
    let find = || {
        let places = ["/usr/bin/setpriv", "/bin/setpriv"].map(PathBuf::from);
        places.into_iter().find(works)
    };
    SETPRIV.get_or_init(|| if cfg!(target_os = "linux") { find() } else { None }).as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_lines() {
        assert_eq!(last_lines("a\n\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }

    #[test]
    fn passes_no_secrets_on() {
        let identity = Identity { user: None, die_with_parent: true };
        let output = run(identity.command(Path::new("/usr/bin/env"), "KILL"), "").unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("LC_ALL=C"), "{text}");
        assert!(!text.contains("CARGO"), "{text}");
    }
}
