//! What must be true when all runs have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sluice_engine::{State, replay};
use sluice_proto::event::Event;
use sluice_proto::ids::{AgentName, WorkflowId};
use sluice_proto::seal::SigningKey;
use sluice_tests::processes::record;
use sluice_tests::processes::site::SECRET;
use sqlx::Row;

use super::fault::{Fault, Harms};
use super::load::{EFFECTS, ONCE, TRAITS};
use super::scene::Scene;

/// What coordinators say when they find a run that waits for nothing, or an attempt of nobody.
const STRANDED: [&str; 2] =
    ["the run waits for nothing", "an attempt that its run does not wait for was deleted"];
/// Longest wait for acknowledgements that are still on their way.
const SETTLING: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) lost: usize,
    pub(crate) committed_twice: i64,
    pub(crate) interrupted: i64,
    /// Calls of agents with effects that were made before.
    pub(crate) effects_repeated: usize,
    /// Calls that may be repeated: those that were under way on what was struck.
    pub(crate) running: usize,
    /// Whatever should not be.
    pub(crate) broken: Vec<String>,
}

impl Scene<'_> {
    pub(crate) async fn check(&mut self, fault: &Fault) -> Findings {
        let mut found =
            Findings { broken: record::broken(&self.pool).await, ..Findings::default() };
        found.committed_twice = record::committed_twice(&self.pool).await;
        self.check_runs(fault, &mut found).await;
        self.check_histories(&mut found).await;
        self.check_calls(fault, &mut found).await;
        let outputs: Vec<String> = self.members().map(|member| member.output()).collect();
        for line in outputs.iter().flat_map(|output| output.lines()) {
            if STRANDED.iter().any(|said| line.contains(said)) {
                let id = line.split('"').nth(1).unwrap_or_default();
                found.broken.push(format!("{line}: {:?}", self.history(id).await));
            }
        }
        if fault.harms == Harms::Nobody {
            found.broken.extend(self.left_in_queues().await);
        }
        found
    }

    /// What happened when in a run.
    pub(crate) async fn history(&self, id: &str) -> Vec<String> {
        sqlx::query_scalar(
            "select to_char(timestamp, 'HH24:MI:SS.MS') || ' ' || action || coalesce(' ' || step_id, '')
               from workflow_events where workflow_id = $1 order by sequence",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    /// Every run that was taken is there, and has come to the end that its template declares, or failed
    /// because its worker vanished, or that of its child.
    async fn check_runs(&self, fault: &Fault, found: &mut Findings) {
        let rows: Vec<(String, String, bool, bool)> = sqlx::query_as(
            "with interrupted as (
               select distinct workflow_id from workflow_events
                where action = 'fail_step' and data ->> 'error_type' = 'interrupted')
             select workflow_id, status, workflow_id in (select workflow_id from interrupted),
                    exists (select from interrupted i join runs c using (workflow_id)
                             where c.parent_workflow_id = r.workflow_id)
               from runs r",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let known: BTreeSet<&str> = rows.iter().map(|(id, ..)| id.as_str()).collect();
        let taken = self.taken.lock().unwrap();
        let lost: Vec<&String> = taken.iter().filter(|id| !known.contains(id.as_str())).collect();
        found.lost = lost.len();
        if !lost.is_empty() {
            found.broken.push(format!("taken and then forgotten: {lost:?}"));
        }
        for (id, status, interrupted, child_interrupted) in &rows {
            if *interrupted {
                found.interrupted += 1;
            }
            let is_failed = *interrupted || *child_interrupted;
            if status != if is_failed { "failed" } else { fault.load.end(id) } {
                found.broken.push(format!("{id} is {status}; interrupted: {is_failed}"));
            }
        }
    }

    /// Every history is signed and chained, and what it adds up to is what the run's row says.
    async fn check_histories(&self, found: &mut Findings) {
        let key = SigningKey::new(SECRET.as_bytes()).unwrap();
        let mut histories: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        let rows: Vec<(String, Vec<u8>, Vec<u8>)> =
            sqlx::query_as("select workflow_id, body, signature from events order by 1, sequence")
                .fetch_all(&self.pool)
                .await
                .unwrap();
        for (id, body, signature) in rows {
            if !key.verify(&body, &signature) {
                found.broken.push(format!("{id}: an event's signature is wrong"));
            }
            histories.entry(id).or_default().push(serde_json::from_slice(&body).unwrap());
        }
        let rows = sqlx::query(
            "select workflow_id, status, sequence, failed_step, error_message, current_step from runs",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        for row in rows {
            let id: String = row.get(0);
            let events = histories.remove(&id).unwrap_or_default();
            let state = replay(State::new(WorkflowId::parse(&id).unwrap()), &events);
            let replayed = (
                state.status.as_str().to_owned(),
                i64::try_from(state.sequence).unwrap(),
                state.failed_step.clone(),
                state.error_message.clone(),
                state.last_step.clone(),
            );
            let projected = (row.get(1), row.get(2), row.get(3), row.get(4), row.get(5));
            if replayed != projected {
                found.broken.push(format!("{id}: {projected:?} is replayed as {replayed:?}"));
            }
            if !state.locks.is_empty() || !state.active.is_empty() {
                found.broken.push(format!("{id} has ended and still holds or does something"));
            }
        }
        if !histories.is_empty() {
            found.broken.push(format!("events of no run: {:?}", histories.keys()));
        }
    }

    /// Calls are repeated only if they were under way on what was struck, and those of an agent that may
    /// not be called twice never.
    async fn check_calls(&self, fault: &Fault, found: &mut Findings) {
        let calls = self.agents.calls();
        let mut counts: BTreeMap<(&str, &str, u64), usize> = BTreeMap::new();
        for call in &calls {
            *counts.entry((&call.agent, &call.key, call.attempt)).or_default() += 1;
        }
        let repeated = |agents: &dyn Fn(&str) -> bool| -> usize {
            let of = counts.iter().filter(|((agent, ..), _)| agents(agent));
            of.map(|(_, count)| count - 1).sum()
        };
        found.effects_repeated = repeated(&|agent| EFFECTS.contains(&agent));
        found.running = match fault.harms {
            Harms::Nobody => 0,
            Harms::FirstWorker => self.struck.running(&calls, Some("worker-1")),
            Harms::Calls | Harms::Everybody => self.struck.running(&calls, None),
            Harms::Unclaimed => 0,
        };
        let all = match fault.harms {
            Harms::Unclaimed => found.effects_repeated,
            _ => repeated(&|_| true),
        };
        if all > found.running {
            let which: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
            found.broken.push(format!(
                "{all} calls were repeated, {} could have been: {which:?}",
                found.running
            ));
        }
        let mut keys = BTreeMap::<&str, usize>::new();
        for call in calls.iter().filter(|call| call.agent == ONCE) {
            *keys.entry(&call.key).or_default() += 1;
        }
        let twice: Vec<_> = keys.iter().filter(|(_, count)| **count > 1).collect();
        if !twice.is_empty() {
            found.broken.push(format!("{ONCE} was called again under a key: {twice:?}"));
        }
        let allowed = match fault.harms {
            Harms::Nobody | Harms::Calls | Harms::Unclaimed => 0,
            Harms::FirstWorker | Harms::Everybody => found.running,
        };
        if usize::try_from(found.interrupted).unwrap() > allowed {
            found.broken.push(format!(
                "{} attempts were given up, {allowed} could have been",
                found.interrupted
            ));
        }
    }

    /// Commands that nobody has settled although nobody was harmed.
    async fn left_in_queues(&self) -> Vec<String> {
        let until = Instant::now() + SETTLING;
        let mut left = Vec::new();
        for (agent, _) in TRAITS {
            let agent = AgentName::parse(agent).unwrap();
            loop {
                let lane = self.bus.step_lane(&agent, false).await.unwrap();
                if lane.pending + lane.ack_pending == 0 {
                    break;
                }
                if Instant::now() > until {
                    left.push(format!("left in the queue of {agent}: {lane:?}"));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        left
    }
}
