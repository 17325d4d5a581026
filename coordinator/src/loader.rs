//! States of runs: folded from their events behind the newest kept state, cached by sequence, never trusted
//! beyond it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hashlink::LruCache;
use sluice_engine::State;
use sluice_engine::template::Template;
use sluice_proto::event::Event;
use sluice_proto::seal::hex;
use sluice_proto::verify::KeyRing;
use sqlx::PgConnection;

use crate::library::Library;
use crate::snapshot;
use crate::store::runs::{self, RunHead};
use crate::store::{StoreError, events, snapshots};

/// States kept; the least recently used go first.
const MAX_CACHED_STATES: usize = 20_000;

/// A run as it stands in the database.
#[derive(Clone, Debug)]
pub(crate) struct LoadedRun {
    pub(crate) head: RunHead,
    pub(crate) template: Arc<Template>,
    pub(crate) state: Arc<State>,
}

/// Reads runs.
pub(crate) struct Loader {
    library: Arc<Library>,
    /// Keys under which a kept state is trusted.
    keys: KeyRing,
    cache: Mutex<LruCache<String, Arc<State>>>,
}

impl Loader {
    pub(crate) fn new(library: Arc<Library>, keys: KeyRing) -> Self {
        Self { library, keys, cache: Mutex::new(LruCache::new(MAX_CACHED_STATES)) }
    }

    /// How many states are kept in memory.
    pub(crate) fn cached_states(&self) -> usize {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The runs that exist among `ids`.
    pub(crate) async fn load(
        &self,
        connection: &mut PgConnection,
        ids: &[String],
    ) -> Result<HashMap<String, LoadedRun>, StoreError> {
        let heads = runs::find_heads(&mut *connection, ids).await?;
        let mut loaded = HashMap::with_capacity(heads.len());
        let mut stale = Vec::new();
        for head in heads {
            let (name, sha256) = (&head.template_name, &head.template_sha256);
            let template = self.library.pinned(&mut *connection, name, sha256).await?;
            match self.cached(&head) {
                Some(state) => {
                    loaded
                        .insert(head.workflow_id.to_string(), LoadedRun { head, template, state });
                }
                None => stale.push((head, template)),
            }
        }
        self.fold(connection, stale, &mut loaded).await?;
        Ok(loaded)
    }

    async fn fold(
        &self,
        connection: &mut PgConnection,
        stale: Vec<(RunHead, Arc<Template>)>,
        loaded: &mut HashMap<String, LoadedRun>,
    ) -> Result<(), StoreError> {
        if stale.is_empty() {
            return Ok(());
        }
        let mut kept = self.kept(connection, &stale).await?;
        let behind = |head: &RunHead| {
            let id = head.workflow_id.to_string();
            let count = kept.get(&id).map_or(0, |kept| kept.state.sequence);
            (id, i64::try_from(count).unwrap_or(i64::MAX))
        };
        let runs: Vec<(String, i64)> = stale.iter().map(|(head, _)| behind(head)).collect();
        let mut months: Vec<time::Date> =
            stale.iter().map(|(head, _)| head.started_month).collect();
        months.sort_unstable();
        months.dedup();
        let mut histories = events::find_behind(connection, &months, &runs).await?;
        for (head, template) in stale {
            let id = head.workflow_id.to_string();
            let mut tail = histories.remove(&id).unwrap_or_default();
            // Another coordinator may have committed between the two reads.
            tail.retain(|event| event.sequence <= head.sequence);
            let state = match kept.remove(&id).filter(|kept| kept.leads_to(&tail, &head)) {
                Some(kept) => sluice_engine::replay(kept.state, &tail),
                None => whole(connection, &head, tail).await?,
            };
            let state = Arc::new(state);
            self.remember(&state);
            loaded.insert(id, LoadedRun { head, template, state });
        }
        Ok(())
    }

    /// Kept states that can be trusted, by run.
    async fn kept(
        &self,
        connection: &mut PgConnection,
        stale: &[(RunHead, Arc<Template>)],
    ) -> Result<HashMap<String, Kept>, StoreError> {
        let long = stale.iter().filter(|(head, _)| head.sequence > snapshot::EVERY);
        let ids: Vec<String> = long.map(|(head, _)| head.workflow_id.to_string()).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut kept = HashMap::new();
        for row in snapshots::newest(connection, &ids, snapshot::FORMAT).await? {
            match snapshot::open(&self.keys, &row) {
                Ok(state) => {
                    let hash = hex(&row.last_hash);
                    kept.insert(row.workflow_id, Kept { state, last_hash: hash });
                }
                Err(error) => tracing::error!(
                    workflow.id = row.workflow_id,
                    error,
                    "a kept state cannot be trusted; the events are folded from the first one"
                ),
            }
        }
        Ok(kept)
    }

    fn cached(&self, head: &RunHead) -> Option<Arc<State>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let state = cache.get(head.workflow_id.as_str())?;
        (state.sequence == head.sequence).then(|| Arc::clone(state))
    }

    /// Keeps a committed state.
    pub(crate) fn remember(&self, state: &Arc<State>) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(state.workflow_id.to_string(), Arc::clone(state));
    }
}

/// A state after some of a run's events.
struct Kept {
    state: State,
    /// Lower hex SHA-256 of the last of them.
    last_hash: String,
}

impl Kept {
    /// Whether these are the events that follow, up to the run's head.
    fn leads_to(&self, tail: &[Event], head: &RunHead) -> bool {
        let follows = match tail.first() {
            Some(first) => first.prev_hash == self.last_hash,
            None => hex(&head.last_hash) == self.last_hash,
        };
        let is_whole = self.state.sequence + tail.len() as u64 == head.sequence;
        if !follows || !is_whole {
            tracing::error!(
                workflow.id = %head.workflow_id,
                "a kept state does not lead to the run's events; they are folded from the first one"
            );
        }
        follows && is_whole
    }
}

/// A fold from the first event. `tail` is all of them when there was no kept state to begin with.
async fn whole(
    connection: &mut PgConnection,
    head: &RunHead,
    tail: Vec<Event>,
) -> Result<State, StoreError> {
    let id = head.workflow_id.to_string();
    let mut events = tail;
    if events.first().is_none_or(|first| first.sequence > 1) {
        let months = [head.started_month];
        let mut found = events::find_behind(connection, &months, &[(id.clone(), 0)]).await?;
        events = found.remove(&id).unwrap_or_default();
        events.retain(|event| event.sequence <= head.sequence);
    }
    if events.len() as u64 != head.sequence {
        return Err(StoreError::Unreadable {
            what: format!("history of {id}"),
            cause: format!("{} of {} events are there", events.len(), head.sequence),
        });
    }
    Ok(sluice_engine::replay(State::new(head.workflow_id.clone()), &events))
}
