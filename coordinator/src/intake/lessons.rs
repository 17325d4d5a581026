//! What runs learn from failures, in the transaction of the events that tell of them.

use std::collections::BTreeMap;

use sluice_engine::lesson::{self, Lesson, LessonChange, Lessons};
use sluice_proto::timestamp::Timestamp;
use sqlx::PgConnection;

use super::item::{Item, Work};
use crate::store::StoreError;
use crate::store::lessons::{self, Learned};

/// The lessons of one batch.
#[derive(Default)]
pub(super) struct WorkingLessons {
    known: Lessons,
    learned: BTreeMap<(String, String), Lesson>,
}

impl WorkingLessons {
    /// Reads what is remembered of the failures that these items tell of. `agent_of` says whose attempt was
    /// given up.
    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        items: &[Item],
        agent_of: impl Fn(&Item) -> Option<String>,
    ) -> Result<(), StoreError> {
        let told = items.iter().filter_map(|item| match &item.work {
            Work::Result { agent, report, .. } => {
                Some((agent.clone(), lesson::signature_of(report.outcome.as_ref().err()?)))
            }
            Work::Lost { loss, .. } => Some((agent_of(item)?, lesson::signature_of_loss(*loss)?)),
            _ => None,
        });
        let mut keys: Vec<(String, String)> = told.collect();
        keys.sort_unstable();
        keys.dedup();
        if !keys.is_empty() {
            self.known = lessons::find(connection, &keys).await?;
        }
        Ok(())
    }

    /// What was remembered before the batch.
    pub(super) fn known(&self) -> &Lessons {
        &self.known
    }

    pub(super) fn learn(&mut self, agent: String, signature: String, change: &LessonChange) {
        let lesson = self.learned.entry((agent, signature)).or_default();
        *lesson = lesson.after(change);
    }

    /// Adds what was learned to what is remembered.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.learned.is_empty() {
            return Ok(());
        }
        let learned = self.learned.iter().map(|((agent, signature), lesson)| Learned {
            agent: agent.clone(),
            signature: signature.clone(),
            lesson: lesson.clone(),
        });
        lessons::add(connection, &learned.collect::<Vec<_>>(), now).await
    }
}
