//! Lines that a user types, with the real `task` program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use sluice_tests::processes::folder::Folder;

const TASKFILE: &str = include_str!("../../../Taskfile.yml");
/// Longest wait for a line; none of them waits for a run.
const LIMIT: Duration = Duration::from_secs(60);

/// A program that the machine's owner names.
pub(crate) fn named_by(variable: &str, what: &str) -> String {
    let path = std::env::var(variable).unwrap_or_default();
    assert!(Path::new(&path).is_file(), "{variable} must be the path of {what}, and is '{path}'");
    path
}

/// A folder with the Taskfile in it, and a gateway that its tasks talk to.
pub(crate) struct Shell {
    folder: PathBuf,
    url: String,
}

/// What a line left behind.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shell {
    pub(crate) fn new(folder: &Folder, url: &str) -> Self {
        folder.write("Taskfile.yml", TASKFILE);
        Self { folder: folder.path().to_owned(), url: url.to_owned() }
    }

    /// Runs a line as it stands in the guide, but for the port.
    pub(crate) async fn run(&self, line: &str) -> Said {
        self.run_with(line, &[]).await
    }

    pub(crate) async fn run_with(&self, line: &str, env: &[(&str, &str)]) -> Said {
        let task = named_by("SLUICE_TEST_TASK", "the `task` program");
        let sluice = Path::new(env!("CARGO_BIN_EXE_sluice"));
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let folders = [Path::new(&task).parent(), sluice.parent()].into_iter().flatten();
        let folders = folders.map(Path::to_owned).chain(std::env::split_paths(&inherited));
        let mut command = Command::new("sh");
        command
            .args(["-c", &line.replace("http://localhost:8001", &self.url)])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::join_paths(folders).unwrap())
            .env("HOME", &self.folder)
            .env("ORCHESTRATOR_URL", &self.url)
            .envs(env.iter().copied())
            .kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.expect(line).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Runs a line that starts a run, and gives the run's id. The output is the guide's.
    pub(crate) async fn starts(&self, line: &str, slug: &str) -> String {
        let said = self.run(line).await;
        self.started(&said, slug)
    }

    pub(crate) fn started(&self, said: &Said, slug: &str) -> String {
        let id = said.out.lines().next().and_then(|l| l.strip_prefix("✓ Workflow started: "));
        let id = id.unwrap_or_else(|| panic!("{said:?}")).to_owned();
        assert!(id.starts_with(&format!("{slug}-")), "{id}");
        let sample =
            format!("✓ Workflow started: {id}\nMonitor: {}/workflow/status/{id}\n", self.url);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, sample.as_str(), ""));
        id
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }
}

impl Said {
    /// Standard output, which must be JSON and nothing else.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
