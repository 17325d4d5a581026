//! What is stored of a run beside its events, against what the events lead to.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_engine::template::Template;
use sluice_engine::{State, current_step, wishes};
use sluice_proto::api::Mismatch;
use sluice_proto::seal::hex;
use sluice_proto::verify::KeyRing;

use crate::store::outstanding::Outstanding;
use crate::store::runs::{Projection, RunHead};
use crate::store::snapshots::SnapshotRow;

/// The run's row, column by column.
pub(crate) fn row(
    template: Option<&Template>,
    state: &State,
    head: &RunHead,
    row: &Projection,
) -> Vec<Mismatch> {
    let current = match template {
        Some(template) => current_step(template, state),
        None => state.last_step.clone(),
    };
    let pairs = [
        ("sequence", json!(head.sequence), json!(state.sequence)),
        ("template_sha256", json!(head.template_sha256), json!(state.template_sha256)),
        ("template_name", json!(row.template_name), json!(state.template_name)),
        ("status", json!(row.status), json!(state.status)),
        ("current_step", json!(row.current_step), json!(current)),
        ("parent_workflow_id", json!(row.parent_workflow_id), json!(state.parent_workflow_id)),
        ("started_at", json!(row.started_at), json!(state.started_at)),
        ("updated_at", json!(row.updated_at), json!(state.updated_at)),
        ("completed_at", json!(row.completed_at), json!(state.completed_at)),
        ("failed_step", json!(row.failed_step), json!(state.failed_step)),
        ("error_message", json!(row.error_message), json!(state.error_message)),
    ];
    pairs
        .into_iter()
        .filter_map(|(column, a, b)| mismatch(&format!("runs.{column}"), a, b))
        .collect()
}

/// The hash that the run's row keeps of its last event.
pub(crate) fn last_hash(head: &RunHead, last: [u8; 32]) -> Option<Mismatch> {
    mismatch("runs.last_hash", json!(hex(&head.last_hash)), json!(hex(&last)))
}

/// A kept state, against the fold up to the same event.
pub(crate) fn snapshot(
    keys: &KeyRing,
    row: &SnapshotRow,
    state: &State,
    last_hash: [u8; 32],
) -> Option<Mismatch> {
    let what = format!("snapshots.{}", row.event_count);
    if row.format != crate::snapshot::FORMAT {
        return None;
    }
    let (stored, replayed) = match crate::snapshot::open(keys, row) {
        Err(error) => (json!(error), json!(state)),
        Ok(kept) if kept == *state && row.last_hash == last_hash => return None,
        Ok(kept) => (json!(kept), json!(state)),
    };
    Some(Mismatch { what, stored, replayed })
}

/// Locks, approvals, attempts and timers.
pub(crate) fn outstanding(
    template: &Template,
    state: &State,
    stored: &Outstanding,
) -> Vec<Mismatch> {
    let wishes = wishes(template, state);
    let attempts =
        wishes.attempts.iter().map(|wish| format!("{}:{}:{}", wish.path, wish.visit, wish.attempt));
    let timers = wishes.timers.iter().map(|wish| format!("{}:{}", wish.step, wish.visit));
    let sorted = |names: &mut dyn Iterator<Item = String>| {
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        json!(names)
    };
    let own = |names: &[String]| sorted(&mut names.iter().cloned());
    let locks: BTreeMap<&String, i64> = stored.locks.iter().map(|(name, n)| (name, *n)).collect();
    let held: BTreeMap<&String, u64> =
        state.locks.iter().map(|(name, held)| (name, held.fencing_number)).collect();
    let approvals: BTreeMap<&String, &String> =
        stored.approvals.iter().map(|(id, status)| (id, status)).collect();
    let asked: BTreeMap<&String, &str> = state
        .approvals
        .iter()
        .map(|approval| {
            let id = &approval.request.approval_id;
            let open = approval.status == "pending" && !wishes.approvals.contains(id);
            (id, if open { "cancelled" } else { approval.status.as_str() })
        })
        .collect();
    let pairs = [
        ("attempts", own(&stored.attempts), sorted(&mut attempts.into_iter())),
        ("timers", own(&stored.timers), sorted(&mut timers.into_iter())),
        ("locks", json!(locks), json!(held)),
        ("approvals", json!(approvals), json!(asked)),
    ];
    pairs.into_iter().filter_map(|(table, a, b)| mismatch(table, a, b)).collect()
}

fn mismatch(what: &str, stored: Value, replayed: Value) -> Option<Mismatch> {
    (stored != replayed).then(|| Mismatch { what: what.to_owned(), stored, replayed })
}
