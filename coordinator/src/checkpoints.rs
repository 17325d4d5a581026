//! Checkpoints: at the end of each run, and at most every interval for open ones, a signed line goes where the
//! administrator of the database has no say. What a crash leaves undone is made by the next coordinator; a line
//! that stands there twice says the same.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_proto::checkpoint::CheckpointKey;
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::coordinator::{Shared, now};
use crate::store::StoreError;
use crate::store::checkpoints::{self, Due};
use crate::store::runs::RunRow;

/// Time between two looks at what is due.
const LOOK: Duration = Duration::from_millis(500);
/// When a checkpoint that could not be kept is tried again, milliseconds.
const AGAIN_MS: u64 = 10_000;
/// Longest wait for a sink.
const SINK_TIMEOUT: Duration = Duration::from_secs(8);

/// How checkpoints are made.
#[derive(Debug)]
pub struct CheckpointConfig {
    /// Signs them.
    pub key: CheckpointKey,
    /// Where they go.
    pub sink: CheckpointSink,
    /// Longest time between two checkpoints of a run that moves, milliseconds.
    pub interval_ms: u64,
}

/// Where checkpoints go.
#[derive(Clone, Debug)]
pub enum CheckpointSink {
    /// Lines are added to this file.
    File(PathBuf),
    /// Lines are posted here, several at once (`application/x-ndjson`); any status but 2xx means that they
    /// were not taken.
    Http(String),
}

/// A sink does not take lines.
#[derive(Debug, thiserror::Error)]
enum SinkError {
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("it answers {0}")]
    Refused(u16),
    #[error("no answer in time")]
    Timeout,
}

/// Makes what is due until told to stop, and then once more.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let Some(config) = &shared.checkpoints else { return };
    let mut failing = false;
    loop {
        let stopping = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            () = stop.cancelled() => true,
        };
        match make_due(&shared, config).await {
            Ok(()) => failing = false,
            // Told once, however long it lasts; nothing is lost meanwhile.
            Err(error) if !failing => {
                failing = true;
                tracing::error!(error = %format!("{error:#}"), "checkpoints cannot be kept; they are tried again");
            }
            Err(_) => {}
        }
        if stopping {
            return;
        }
    }
}

async fn make_due(shared: &Shared, config: &CheckpointConfig) -> anyhow::Result<()> {
    loop {
        let at = now();
        let mut connection = shared.pool.acquire().await.map_err(StoreError::from)?;
        let due =
            checkpoints::take(&mut connection, at.into(), at.plus_ms(AGAIN_MS).into()).await?;
        drop(connection);
        if due.is_empty() {
            return Ok(());
        }
        let lines: String = due.iter().filter_map(|due| line(config, due, at)).collect();
        config.sink.append(lines).await?;
        let later = at.plus_ms(config.interval_ms).into();
        let mut connection = shared.pool.acquire().await.map_err(StoreError::from)?;
        checkpoints::settle(&mut connection, &due, at.into(), later).await?;
    }
}

fn line(config: &CheckpointConfig, due: &Due, at: Timestamp) -> Option<String> {
    let id = WorkflowId::parse(&due.workflow_id).ok()?;
    let hash = due.last_hash.as_slice().try_into().ok()?;
    let place = (due.sequence.unsigned_abs(), hash);
    Some(config.key.sign(id, place, due.ended, at).line() + "\n")
}

/// Notes in the transaction of their events that runs have moved.
pub(crate) async fn note(
    shared: &Shared,
    connection: &mut sqlx::PgConnection,
    rows: &[&RunRow],
    at: Timestamp,
) -> Result<(), StoreError> {
    let Some(config) = &shared.checkpoints else { return Ok(()) };
    let later = at.plus_ms(config.interval_ms).into();
    checkpoints::note(connection, rows, at.into(), later).await
}

impl CheckpointSink {
    async fn append(&self, lines: String) -> Result<(), SinkError> {
        let appending = async {
            match self {
                Self::File(path) => append_to_file(path, &lines).await,
                Self::Http(url) => post(url, lines).await,
            }
        };
        tokio::time::timeout(SINK_TIMEOUT, appending).await.map_err(|_| SinkError::Timeout)?
    }
}

/// One write, so that lines of several coordinators do not run into each other; on the disk when this
/// returns.
async fn append_to_file(path: &PathBuf, lines: &str) -> Result<(), SinkError> {
    let mut file = tokio::fs::OpenOptions::new().create(true).append(true).open(path).await?;
    // What a full disk cut off must not run into what comes now.
    let separator = if ends_a_line(path).await? { "" } else { "\n" };
    file.write_all(format!("{separator}{lines}").as_bytes()).await?;
    file.flush().await?;
    Ok(file.sync_data().await?)
}

async fn ends_a_line(path: &PathBuf) -> std::io::Result<bool> {
    let mut file = tokio::fs::File::open(path).await?;
    if file.metadata().await?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1)).await?;
    Ok(file.read_u8().await? == b'\n')
}

async fn post(url: &str, lines: String) -> Result<(), SinkError> {
    let client = reqwest::Client::builder().build()?;
    let request = client.post(url).header("content-type", "application/x-ndjson").body(lines);
    let status = request.send().await.map_err(reqwest::Error::without_url)?.status();
    if status.is_success() { Ok(()) } else { Err(SinkError::Refused(status.as_u16())) }
}
