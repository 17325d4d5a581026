//! Kept states: made after every tenth event, in the transaction of the events; trusted only under their
//! signature.

use sluice_engine::State;
use sluice_proto::event::{CreateSnapshot, Event};
use sluice_proto::seal::{SigningKey, sha256_hex};
use sluice_proto::timestamp::Timestamp;
use sluice_proto::verify::KeyRing;

use crate::store::StoreError;
use crate::store::snapshots::SnapshotRow;

/// Events between two snapshots.
pub(crate) const EVERY: u64 = 10;
/// Raised by whoever changes what a state means, so that states of other releases are folded anew.
pub(crate) const FORMAT: i32 = 1;

/// A state that is kept, and the event that says so.
pub(crate) fn make(
    key: &SigningKey,
    state: &State,
    last_hash: [u8; 32],
    at: Timestamp,
) -> Result<(SnapshotRow, CreateSnapshot), StoreError> {
    let bytes = serde_json::to_vec(state).map_err(|error| StoreError::Unreadable {
        what: "new snapshot".to_owned(),
        cause: error.to_string(),
    })?;
    let snapshot_id = uuid::Uuid::now_v7().to_string();
    let event = CreateSnapshot {
        snapshot_id: snapshot_id.clone(),
        event_count: state.sequence,
        state_sha256: sha256_hex(&bytes),
    };
    let mut row = SnapshotRow {
        workflow_id: state.workflow_id.to_string(),
        event_count: i64::try_from(state.sequence).unwrap_or(i64::MAX),
        snapshot_id,
        format: FORMAT,
        state: bytes,
        last_hash: last_hash.to_vec(),
        key_id: key.key_id().to_owned(),
        signature: Vec::new(),
        created_at: at.into(),
    };
    row.signature = key.sign(&signed(&row)).to_vec();
    Ok((row, event))
}

/// The state of a row that a known key has signed and that this release can read.
pub(crate) fn open(keys: &KeyRing, row: &SnapshotRow) -> Result<State, String> {
    let key = keys.find(&row.key_id).ok_or_else(|| format!("key {} is not known", row.key_id))?;
    if !key.verify(&signed(row), &row.signature) {
        return Err("its signature does not belong to its content".to_owned());
    }
    let state: State = serde_json::from_slice(&row.state).map_err(|error| error.to_string())?;
    match state.sequence == row.event_count.unsigned_abs() {
        true => Ok(state),
        false => Err("it is stored under another number".to_owned()),
    }
}

/// Everything that a loader relies on. No event begins like this.
fn signed(row: &SnapshotRow) -> Vec<u8> {
    let head = format!(
        "sluice-snapshot\n{}\n{}\n{}\n{}\n",
        row.workflow_id, row.event_count, row.snapshot_id, row.format
    );
    [head.as_bytes(), &row.last_hash, &row.state].concat()
}

/// The state after each event of an input, where one of them is a tenth one; nothing is followed otherwise.
pub(crate) struct Followed(Option<State>);

impl Followed {
    /// From the state before the input; `last` is the number of its last event.
    pub(crate) fn up_to(last: u64, before: &State) -> Self {
        Self((last / EVERY > before.sequence / EVERY).then(|| before.clone()))
    }

    /// Takes the next event; the state after it, if it is a tenth one.
    pub(crate) fn after(&mut self, event: &Event) -> Option<&State> {
        let state = self.0.take()?;
        self.0 = Some(sluice_engine::replay(state, std::iter::once(event)));
        self.0.as_ref().filter(|state| state.sequence.is_multiple_of(EVERY))
    }

    /// Whether what was followed, if anything, has come to this state.
    pub(crate) fn is_none_or(&self, state: &State) -> bool {
        self.0.as_ref().is_none_or(|followed| followed == state)
    }
}
