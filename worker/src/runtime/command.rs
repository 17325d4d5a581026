//! Agents that are programs: the step command on standard input, one JSON object on standard output,
//! standard error is the log.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use indexmap::IndexMap;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use sluice_engine::expr::{Missing, Scope, Text};
use sluice_proto::message::{AgentError, Command};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{sleep, timeout};

use super::{Job, Outcome, Progress, Runtime, answer, classify, failure, http};

/// Variables every child sees, if they are set here.
const USUAL_ENV: [&str; 3] = ["PATH", "HOME", "LANG"];
/// Between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// A grandchild that inherited the output may keep it open; after this it is no longer waited for.
const EOF_GRACE: Duration = Duration::from_secs(2);
/// End of the log that goes into an error message.
const TAIL_BYTES: usize = 2_000;
/// Read from the output in one go.
const CHUNK_BYTES: usize = 16 * 1024;
/// Longest line of the log that is kept in one piece.
const MAX_LINE_BYTES: u64 = 8 * 1024;

pub(super) struct CommandRuntime {
    program: PathBuf,
    arguments: Vec<String>,
    workdir: Option<Text>,
    env: Vec<String>,
    base: PathBuf,
    roots: Arc<[PathBuf]>,
}

impl CommandRuntime {
    pub(super) fn new(
        argv: &[String],
        workdir: Option<&Text>,
        env: &[String],
        base: &Path,
        roots: &Arc<[PathBuf]>,
    ) -> Self {
        let (first, rest) =
            argv.split_first().map_or(("", argv), |(first, rest)| (first.as_str(), rest));
        // A bare name is looked up on the PATH, everything else lies beside the agents file.
        let program = if first.contains('/') { base.join(first) } else { PathBuf::from(first) };
        Self {
            program,
            arguments: rest.to_vec(),
            workdir: workdir.cloned(),
            env: env.to_vec(),
            base: base.to_owned(),
            roots: Arc::clone(roots),
        }
    }

    /// Where the program works: below a workspace root once every link is resolved, or not at all.
    async fn workdir(&self, command: &Command) -> Result<PathBuf, AgentError> {
        let rendered = self.workdir.as_ref().map(|text| render(text, command));
        let wanted = match &rendered {
            None => self.base.clone(),
            Some(path) if path.trim().is_empty() => {
                return Err(refused(
                    "workdir is empty: the run's context lacks what it is made of",
                ));
            }
            Some(path) => self.base.join(path.trim()),
        };
        let shown = wanted.display();
        let real = tokio::fs::canonicalize(&wanted)
            .await
            .map_err(|e| refused(format!("workdir {shown}: {e}")))?;
        for root in self.roots.iter() {
            if tokio::fs::canonicalize(root).await.is_ok_and(|root| real.starts_with(root)) {
                return Ok(real);
            }
        }
        Err(refused(format!("workdir {shown} lies outside of the workspace roots")))
    }

    fn spawn(&self, workdir: &Path, command: &Command) -> Result<Child, AgentError> {
        let inherited = USUAL_ENV.into_iter().chain(self.env.iter().map(String::as_str));
        let environment = inherited.filter_map(|name| Some((name, std::env::var_os(name)?)));
        tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(workdir)
            .env_clear()
            .envs(environment)
            .env("SLUICE_IDEMPOTENCY_KEY", &command.idempotency_key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what it starts can be ended together with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                failure("not_started", false, format!("{}: {error}", self.program.display()))
            })
    }

    async fn call(&self, job: Job) -> Result<Outcome, AgentError> {
        let workdir = self.workdir(&job.command).await?;
        let mut child = self.spawn(&workdir, &job.command)?;
        let group = Group::of(&child);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let said = Said::default();
        let talk = async {
            tokio::join!(
                feed(stdin, &job.body),
                read_output(stdout, job.max_output, &group, &said),
                read_log(stderr, &job.progress, &said),
            );
        };
        let ended = async {
            let status = child.wait().await;
            group.disarm();
            status
        };
        let status = tokio::select! {
            status = with_output(ended, talk) => status,
            () = job.stop.cancelled() => {
                end(&group, &mut child).await;
                return Err(failure("stopped", true, "the program was stopped"));
            }
        };
        let status = status.map_err(|error| failure("not_started", false, error.to_string()))?;
        let (output, log) = said.into_inner();
        if output.len() > job.max_output {
            return Err(classify::too_large(job.max_output));
        }
        if status.success() {
            return Ok(answer::read(&output));
        }
        Err(http::described(&output, ended_badly(status, &log)))
    }
}

impl Runtime for CommandRuntime {
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Outcome> {
        async move { self.call(job).await.unwrap_or_else(Outcome::from) }.boxed()
    }

    fn farewell(&self) -> Duration {
        TERM_GRACE + Duration::from_secs(1)
    }
}

fn refused(message: impl Into<String>) -> AgentError {
    failure("workdir", false, message)
}

fn render(text: &Text, command: &Command) -> String {
    let context = Value::Object(command.context.clone());
    let workflow = json!({ "id": command.workflow_id, "template_name": command.template_name });
    let scope = Scope {
        context: &context,
        outputs: &IndexMap::new(),
        workflow: &workflow,
        within: Vec::new(),
        extra: Vec::new(),
    };
    text.render(&scope, Missing::Empty)
}

/// What a program has said so far.
#[derive(Default)]
struct Said {
    output: Mutex<Vec<u8>>,
    log: Mutex<String>,
}

impl Said {
    fn into_inner(self) -> (Vec<u8>, String) {
        let output = self.output.into_inner().unwrap_or_else(PoisonError::into_inner);
        let log = self.log.into_inner().unwrap_or_else(PoisonError::into_inner);
        (output, last(log.trim_end(), TAIL_BYTES).to_owned())
    }
}

/// Waits for the end of the process and then, for a moment, for the end of its output.
async fn with_output<T>(ended: impl Future<Output = T>, talk: impl Future<Output = ()>) -> T {
    let (mut ended, mut talk) = (std::pin::pin!(ended), std::pin::pin!(talk));
    tokio::select! {
        () = &mut talk => ended.await,
        status = &mut ended => {
            let _ = timeout(EOF_GRACE, talk).await;
            status
        }
    }
}

/// A program that does not read its input is no error.
async fn feed(stdin: Option<ChildStdin>, body: &Bytes) {
    if let Some(mut stdin) = stdin
        && let Err(error) = stdin.write_all(body).await
    {
        tracing::debug!(%error, "the program did not read its input to the end");
    }
}

/// Everything it wrote, and ends it when that is too much.
async fn read_output(stdout: Option<ChildStdout>, limit: usize, group: &Group, said: &Said) {
    let Some(mut stdout) = stdout else { return };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        // What was read before a read error is judged like any other output.
        let Ok(count @ 1..) = stdout.read(&mut chunk).await else { return };
        let mut output = said.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.extend_from_slice(&chunk[..count]);
        if output.len() > limit {
            return group.signal(Signal::KILL);
        }
    }
}

/// Shows the log line by line and keeps its end.
async fn read_log(stderr: Option<ChildStderr>, progress: &Progress, said: &Said) {
    let Some(stderr) = stderr else { return };
    let mut reader = BufReader::new(stderr);
    while let Some(line) = read_line(&mut reader).await {
        progress.line(&line);
        let mut log = said.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
        if log.len() > 2 * TAIL_BYTES {
            *log = last(&log, TAIL_BYTES).to_owned();
        }
    }
}

async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    match reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()),
    }
}

/// The last `max` bytes, or a few less, so as not to cut a character.
fn last(text: &str, max: usize) -> &str {
    let from = (text.len().saturating_sub(max)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[from.unwrap_or_default()..]
}

fn ended_badly(status: ExitStatus, log: &str) -> AgentError {
    use std::os::unix::process::ExitStatusExt;

    let (code, text) = match (status.code(), status.signal()) {
        (Some(code), _) => {
            (format!("exit_{code}"), format!("the program ended with exit code {code}"))
        }
        (None, Some(signal)) => {
            (format!("signal_{signal}"), format!("the program was ended by signal {signal}"))
        }
        (None, None) => {
            ("exit_unknown".to_owned(), "the program ended without an exit code".to_owned())
        }
    };
    let message = if log.is_empty() { text } else { format!("{text}; its log ends with:\n{log}") };
    // Whether trying again helps nobody said: that is left to whoever knows the agent.
    AgentError { code, message, retryable: None, retry_after_ms: None }
}

async fn end(group: &Group, child: &mut Child) {
    group.signal(Signal::TERM);
    tokio::select! {
        _ = child.wait() => {}
        () = sleep(TERM_GRACE) => {}
    }
    // The leader may be gone while others of its group ignore the request.
    group.signal(Signal::KILL);
    let _ = child.wait().await;
    group.disarm();
}

/// The child and everything it started; killed when dropped before its end.
struct Group {
    leader: Option<Pid>,
    armed: std::sync::atomic::AtomicBool,
}

impl Group {
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { leader, armed: true.into() }
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader
            && self.armed.load(std::sync::atomic::Ordering::Relaxed)
        {
            // The group may be gone already.
            let _ = kill_process_group(leader, signal);
        }
    }

    /// The leader's number may belong to somebody else from now on.
    fn disarm(&self) {
        self.armed.store(false, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_cut_between_characters() {
        assert_eq!(last("aéb", 2), "b");
        assert_eq!(last("aéb", 3), "éb");
        assert_eq!(last("a", 9), "a");
        assert_eq!(last("", 9), "");
    }
}
