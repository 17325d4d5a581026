//! Circuit breakers in the transaction of the events that change them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sluice_engine::breaker::{Breaker, BreakerChange, Breakers};
use sluice_engine::template::Template;
use sluice_proto::timestamp::Timestamp;
use sqlx::PgConnection;

use crate::store::StoreError;
use crate::store::breakers::{self, StoredBreaker};

/// The breakers of the templates of one batch.
#[derive(Default)]
pub(super) struct WorkingBreakers {
    by_template: HashMap<String, Breakers>,
    /// Versions of the rows that were read.
    versions: HashMap<(String, String), i64>,
    changed: BTreeSet<(String, String)>,
}

impl WorkingBreakers {
    /// Reads the breakers of those templates that have any and were not read yet.
    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        templates: impl Iterator<Item = &Template>,
    ) -> Result<(), StoreError> {
        let missing = templates
            .filter(|template| template.has_breakers())
            .map(|template| template.file.clone())
            .filter(|file| !self.by_template.contains_key(file));
        let mut names: Vec<String> = missing.collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Ok(());
        }
        for stored in breakers::find(connection, &names).await? {
            let key = (stored.template_name.clone(), stored.step.clone());
            self.versions.insert(key, stored.version);
            if !stored.breaker.is_new() {
                let of_template = self.by_template.entry(stored.template_name).or_default();
                of_template.insert(stored.step, stored.breaker);
            }
        }
        for name in names {
            self.by_template.entry(name).or_default();
        }
        Ok(())
    }

    /// The breakers of a template as the batch has made them so far.
    pub(super) fn of(&self, template: &Template) -> &Breakers {
        static NONE: Breakers = BTreeMap::new();
        self.by_template.get(&template.file).unwrap_or(&NONE)
    }

    pub(super) fn change(&mut self, template: &Template, step: String, change: &BreakerChange) {
        let of_template = self.by_template.entry(template.file.clone()).or_default();
        let breaker = of_template.get(&step).cloned().unwrap_or_default().after(change);
        if breaker.opened_at.is_some() && matches!(change, BreakerChange::Failed { .. }) {
            tracing::warn!(template = template.file, step.id = step, "a circuit breaker is open");
        }
        match breaker.is_new() {
            true => of_template.remove(&step),
            false => of_template.insert(step.clone(), breaker),
        };
        self.changed.insert((template.file.clone(), step));
    }

    /// Writes what changed, unless somebody else was first.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let rows: Vec<StoredBreaker> = self
            .changed
            .iter()
            .map(|key| StoredBreaker {
                template_name: key.0.clone(),
                step: key.1.clone(),
                version: self.versions.get(key).copied().unwrap_or(0),
                breaker: self.breaker(key),
                updated_at: now,
            })
            .collect();
        match breakers::write(connection, &rows).await? {
            written if written == rows.len() as u64 => Ok(()),
            _ => Err(StoreError::Conflict),
        }
    }

    fn breaker(&self, (template, step): &(String, String)) -> Breaker {
        let of_template = self.by_template.get(template);
        of_template.and_then(|breakers| breakers.get(step)).cloned().unwrap_or_default()
    }
}
