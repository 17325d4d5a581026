//! What the example's agents need on this machine.

use std::process::Command;

use crate::error::CliError;

const OLDEST_PYTHON: (u32, u32) = (3, 9);

/// Finds out before anything is started whether Python and git are there. Blocks the thread.
pub(crate) fn check() -> Result<(), CliError> {
    check_python(&said("python3", &["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]))?;
    said("git", &["--version"]).map(drop).map_err(|reason| lacking("git", &reason))
}

fn check_python(answer: &Result<String, String>) -> Result<(), CliError> {
    let what = format!("Python {}.{} or newer", OLDEST_PYTHON.0, OLDEST_PYTHON.1);
    let version = answer.as_ref().map_err(|reason| lacking(&what, reason))?;
    match version.split_once('.').map(|(major, minor)| (major.parse(), minor.parse())) {
        Some((Ok(major), Ok(minor))) if (major, minor) >= OLDEST_PYTHON => Ok(()),
        _ => Err(lacking(&what, &format!("python3 is version {version}"))),
    }
}

fn lacking(what: &str, reason: &str) -> CliError {
    CliError::Failed(format!(
        "the example's agents need {what}: {reason}; install it, or let `sluice dev` use agents of \
         your own with --agents FILE"
    ))
}

/// What a program prints, on one line.
fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    match Command::new(program).args(arguments).output() {
        Ok(done) if done.status.success() => {
            Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
        }
        Ok(done) => Err(format!("{program} does not work ({})", done.status)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("{program} is not on the PATH"))
        }
        Err(error) => Err(format!("{program} cannot be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_strange_pythons_are_refused() {
        for (version, good) in [
            ("3.9", true),
            ("3.13", true),
            ("4.0", true),
            ("3.8", false),
            ("2.7", false),
            ("", false),
        ] {
            assert_eq!(check_python(&Ok(version.to_owned())).is_ok(), good, "{version}");
        }
        let error = check_python(&said("no-such-program", &[])).unwrap_err().to_string();
        assert!(error.contains("Python 3.9") && error.contains("not on the PATH"), "{error}");
    }
}
