//! A folder that goes with its test.

use std::path::{Path, PathBuf};
use std::sync::Once;

const PREFIX: &str = "sluice-processes-";

static CLEAN: Once = Once::new();

/// Kept when the test fails, so that its logs can be read; the next test binary removes it then.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Made when missing.
    #[must_use]
    pub fn new(name: &str) -> Self {
        CLEAN.call_once(remove_leftovers);
        let path = std::env::temp_dir().join(format!("{PREFIX}{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves it to the next test binary, as if the test had failed.
    #[must_use]
    pub fn keep(&mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Folders of test binaries that are gone.
fn remove_leftovers() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
