//! A run from an exported record, back in a database that has lost it or never had it.

use std::collections::BTreeMap;

use sluice_engine::{Approval, State, template};
use sluice_proto::event::Event;
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;
use sluice_proto::verify::{KeyRing, StoredEvent, Verdict, verify};
use sqlx::PgConnection;
use sqlx::postgres::PgPool;
use time::OffsetDateTime;

use crate::store::approvals::{self, ApprovalRow};
use crate::store::events::{self, EventRow};
use crate::store::runs::{self, RunRow};
use crate::store::{StoreError, templates};

/// Events inserted by one statement.
const CHUNK: usize = 1_000;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The run is there, as it was when it was exported.
    Written,
    /// It was there before, with these events, perhaps with more behind them. Nothing was changed.
    WasThere,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Signatures, numbers or hashes say so.
    #[error("it is not what was written: {} findings, see `sluice verify`", .0.findings.len())]
    Tampered(Verdict),
    /// What its agents do meanwhile would be done twice, or by nobody.
    #[error("the run had not ended when it was exported")]
    NotEnded,
    /// The database knows another past of the run.
    #[error("the database has other events of this run; nothing was changed")]
    Different,
    /// It could not be shown, and not go on.
    #[error("the template it was started with is not there: {file} with SHA-256 {sha256}")]
    NoTemplate {
        /// File name of the template.
        file: String,
        /// Of its text.
        sha256: String,
    },
    /// An event of a later version.
    #[error("event {0} cannot be read: {1}")]
    Unreadable(u64, String),
    /// The database did not do it.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// A run as its events leave it.
struct Folded {
    state: State,
    /// Approvals that were decided: their status, and when it came about.
    decided: BTreeMap<String, (String, Timestamp)>,
}

/// Writes a run whole, or nothing of it. `texts` are templates that may be the run's, as file name and text.
pub(super) async fn restore(
    pool: &PgPool,
    id: &WorkflowId,
    record: &[StoredEvent],
    keys: &KeyRing,
    texts: &[(String, String)],
) -> Result<Restored, RestoreError> {
    let verdict = verify(id.as_str(), record, Some(keys), &[]);
    if !verdict.is_valid() || !verdict.signatures_checked {
        return Err(RestoreError::Tampered(verdict));
    }
    let folded = fold(id, record)?;
    if !folded.state.status.is_terminal() {
        return Err(RestoreError::NotEnded);
    }
    let month = month_of(folded.state.started_at);
    events::ensure_partition(&mut *pool.acquire().await.map_err(StoreError::from)?, month).await?;
    let mut transaction = pool.begin().await.map_err(StoreError::from)?;
    let connection = &mut *transaction;
    // Whoever restores the same run at the same time waits here for the other.
    let is_new = !runs::insert(connection, &[row(&folded.state, month, record)]).await?.is_empty();
    let there = events::find_stored(connection, id.as_str(), None).await?;
    let fits = match is_new {
        // A run may have lost its row only.
        true => there.is_empty() || there == record,
        // It may have gone on since it was exported.
        false => there.starts_with(record),
    };
    if !fits {
        return Err(RestoreError::Different);
    }
    if !is_new {
        return Ok(Restored::WasThere);
    }
    keep_template(connection, &folded.state, texts).await?;
    if there.is_empty() {
        for chunk in record.chunks(CHUNK) {
            events::insert(connection, &event_rows(id, month, chunk)).await?;
        }
    }
    insert_approvals(connection, &folded).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(Restored::Written)
}

fn fold(id: &WorkflowId, record: &[StoredEvent]) -> Result<Folded, RestoreError> {
    let mut state = State::new(id.clone());
    let mut decided = BTreeMap::new();
    for stored in record {
        let event = Event::read(&stored.body, stored.sequence)
            .map_err(|error| RestoreError::Unreadable(stored.sequence, error.to_string()))?;
        state = sluice_engine::replay(state, std::slice::from_ref(&event));
        for approval in state.approvals.iter().filter(|approval| approval.status != "pending") {
            let outcome = (approval.status.clone(), event.timestamp);
            decided.entry(approval.request.approval_id.clone()).or_insert(outcome);
        }
    }
    Ok(Folded { state, decided })
}

fn row(state: &State, started_month: time::Date, record: &[StoredEvent]) -> RunRow {
    let last_hash = record.last().map(|last| last.hash().to_vec()).unwrap_or_default();
    // A run that has ended is at no step.
    RunRow::of(state, started_month, state.last_step.clone(), last_hash)
}

fn event_rows(id: &WorkflowId, started_month: time::Date, chunk: &[StoredEvent]) -> Vec<EventRow> {
    let row = |event: &StoredEvent| EventRow {
        started_month,
        workflow_id: id.to_string(),
        sequence: i64::try_from(event.sequence).unwrap_or(i64::MAX),
        body: event.body.clone(),
        signature: event.signature.clone(),
    };
    chunk.iter().map(row).collect()
}

/// A run without its template could not even be shown.
async fn keep_template(
    connection: &mut PgConnection,
    state: &State,
    texts: &[(String, String)],
) -> Result<(), RestoreError> {
    let (file, sha256) = (&state.template_name, &state.template_sha256);
    if templates::find(connection, sha256).await?.is_some() {
        return Ok(());
    }
    let is_meant = |text: &str| {
        template::load(file, text).template.is_some_and(|template| template.sha256 == *sha256)
    };
    let found = texts.iter().find(|(_, text)| is_meant(text));
    let Some((_, text)) = found else {
        return Err(RestoreError::NoTemplate { file: file.clone(), sha256: sha256.clone() });
    };
    let row = (sha256.clone(), file.clone(), text.clone());
    Ok(templates::insert(connection, &[row]).await?)
}

async fn insert_approvals(
    connection: &mut PgConnection,
    folded: &Folded,
) -> Result<(), StoreError> {
    let state = &folded.state;
    let row = |approval: &Approval| ApprovalRow {
        approval_id: approval.request.approval_id.clone(),
        workflow_id: state.workflow_id.to_string(),
        step_id: approval.step.clone(),
        reason: approval.request.reason.clone(),
        risk_level: approval.request.risk_level.clone(),
        approver_role: approval.request.approver_role.clone(),
        required: i32::try_from(approval.request.required).unwrap_or(i32::MAX),
        created_at: approval.created_at.into(),
    };
    let rows: Vec<ApprovalRow> = state.approvals.iter().map(row).collect();
    approvals::insert(connection, &rows).await?;
    let ended = state.completed_at.unwrap_or(state.updated_at);
    for row in rows {
        // What nobody had decided when the run ended was closed with it.
        let undecided = || ("cancelled".to_owned(), ended);
        let (status, at) = folded.decided.get(&row.approval_id).cloned().unwrap_or_else(undecided);
        approvals::close(connection, &[(row.approval_id, status)], at.into()).await?;
    }
    Ok(())
}

fn month_of(moment: Timestamp) -> time::Date {
    let date = OffsetDateTime::from(moment).date();
    date.replace_day(1).unwrap_or(date)
}
