//! Reading the record of a run as it is stored, with or without a coordinator.

pub(crate) mod compare;
mod restore;

use sluice_proto::api::VerifyResponse;
use sluice_proto::event::Event;
use sluice_proto::ids::WorkflowId;
use sluice_proto::verify::{Damage, Finding, Head, KeyRing, StoredEvent, verify};
use sqlx::PgConnection;
use sqlx::postgres::PgPool;

use crate::store::runs::RunHead;
use crate::store::{self, StoreError, events, runs};

pub use restore::{RestoreError, Restored};

/// The record of one run.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The run.
    pub workflow_id: String,
    /// Its events in the order of storage.
    pub events: Vec<StoredEvent>,
    /// What stands under its name where no event of it belongs, and is shown by views all the same.
    pub strays: Vec<StoredEvent>,
    /// What the run's row says about them; none when the run has no row.
    pub head: Option<Head>,
}

/// The databases of records: a live one, or a dump that was restored somewhere.
#[derive(Clone, Debug)]
pub struct RecordStore {
    pool: PgPool,
}

impl RecordStore {
    /// Connects; a role that may read is enough, and nothing is changed.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Ok(Self { pool: store::connect(url, 1).await? })
    }

    /// Up to a thousand ids of runs behind `after`, in order.
    ///
    /// # Errors
    /// The database does not answer, or is none of ours.
    pub async fn ids(&self, after: &str) -> Result<Vec<String>, StoreError> {
        events::run_ids(&mut *self.pool.acquire().await?, after, 1_000).await
    }

    /// The record of one run; none when there is neither an event nor a row of it.
    ///
    /// # Errors
    /// The database does not answer, or is none of ours.
    pub async fn read(&self, id: &str) -> Result<Option<StoredRecord>, StoreError> {
        let mut transaction = store::begin_snapshot(&self.pool).await?;
        Ok(read(&mut transaction, id).await?.map(|(record, _)| record))
    }

    /// Writes a run that had ended as its exported record says, whole or not at all, if one of `keys` has
    /// signed it. Its template is one of `texts` (file name and text) unless the database has it. What is
    /// there already is left alone.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn restore(
        &self,
        id: &WorkflowId,
        record: &[StoredEvent],
        keys: &KeyRing,
        texts: &[(String, String)],
    ) -> Result<Restored, RestoreError> {
        restore::restore(&self.pool, id, record, keys, texts).await
    }
}

/// The record of one run, and its row.
pub(crate) async fn read(
    connection: &mut PgConnection,
    id: &str,
) -> Result<Option<(StoredRecord, Option<RunHead>)>, StoreError> {
    let found = runs::find_heads(&mut *connection, &[id.to_owned()]).await?.into_iter().next();
    let month = found.as_ref().map(|head| head.started_month);
    let events = events::find_stored(&mut *connection, id, month).await?;
    let strays = match month {
        Some(month) => events::find_strays(connection, id, month).await?,
        None => Vec::new(),
    };
    if found.is_none() && events.is_empty() {
        return Ok(None);
    }
    let head = found.as_ref().map(|head| Head {
        source: "the run's row".to_owned(),
        sequence: head.sequence,
        hash: head.last_hash,
        is_past: false,
    });
    Ok(Some((StoredRecord { workflow_id: id.to_owned(), events, strays, head }, found)))
}

impl StoredRecord {
    /// Whether it is what was written, against the run's row and what else remembers the run.
    #[must_use]
    pub fn verify(&self, keys: Option<&KeyRing>, heads: &[Head]) -> VerifyResponse {
        let none = Head {
            source: "the database, which has no row of the run,".to_owned(),
            sequence: 0,
            hash: [0; 32],
            is_past: false,
        };
        let own = self.head.clone().unwrap_or(none);
        let heads: Vec<Head> = std::iter::once(own).chain(heads.iter().cloned()).collect();
        let mut verdict = verify(&self.workflow_id, &self.events, keys, &heads);
        verdict.findings.extend(self.strays.iter().map(stray));
        VerifyResponse {
            workflow_id: self.workflow_id.clone(),
            valid: verdict.is_valid(),
            verdict,
            checkpointed: None,
        }
    }
}

/// An event that nobody looks for where it stands, but for the views.
fn stray(stored: &StoredEvent) -> Finding {
    let event = Event::read(&stored.body, stored.sequence).ok();
    Finding {
        sequence: stored.sequence,
        event_id: event.map(|event| event.event_id),
        damage: Damage::Inserted,
        field: "started_month".to_owned(),
        detail: "it stands in another month than that in which the run started".to_owned(),
    }
}

/// Reads the record of a run that must be there.
pub(crate) async fn find(
    pool: &PgPool,
    id: &WorkflowId,
) -> Result<Option<(StoredRecord, Option<RunHead>)>, StoreError> {
    let mut transaction = store::begin_snapshot(pool).await?;
    read(&mut transaction, id.as_str()).await
}
