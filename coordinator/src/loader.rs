//! States of runs: folded from their events, cached by sequence, never trusted beyond it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hashlink::LruCache;
use sluice_engine::State;
use sluice_engine::template::Template;
use sqlx::PgConnection;

use crate::library::Library;
use crate::store::runs::{self, RunHead};
use crate::store::{StoreError, events};

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
    cache: Mutex<LruCache<String, Arc<State>>>,
}

impl Loader {
    pub(crate) fn new(library: Arc<Library>) -> Self {
        Self { library, cache: Mutex::new(LruCache::new(MAX_CACHED_STATES)) }
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
        let ids: Vec<String> = stale.iter().map(|(head, _)| head.workflow_id.to_string()).collect();
        let mut months: Vec<time::Date> =
            stale.iter().map(|(head, _)| head.started_month).collect();
        months.sort_unstable();
        months.dedup();
        let mut histories = events::find_all(connection, &months, &ids).await?;
        for (head, template) in stale {
            let id = head.workflow_id.to_string();
            let mut history = histories.remove(&id).unwrap_or_default();
            // Another coordinator may have committed between the two reads.
            history.retain(|event| event.sequence <= head.sequence);
            if history.len() as u64 != head.sequence {
                return Err(StoreError::Unreadable {
                    what: format!("history of {id}"),
                    cause: format!("{} of {} events are there", history.len(), head.sequence),
                });
            }
            let state = sluice_engine::replay(State::new(head.workflow_id.clone()), &history);
            let state = Arc::new(state);
            self.remember(&state);
            loaded.insert(id, LoadedRun { head, template, state });
        }
        Ok(())
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
