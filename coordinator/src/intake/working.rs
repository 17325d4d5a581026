//! The runs of one batch while it is being worked out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::template::{self, Template};
use sluice_engine::{
    Advance, AttemptDraft, Effect, Input, NewEvent, Refused, Situation, State, WishedTimer, advance,
};
use sluice_proto::api::CancelCleanup;
use sluice_proto::event::{EVENT_VERSION, Event, EventBody, RetryStep};
use sluice_proto::ids::{CommandId, WorkflowId};
use sluice_proto::seal::{GENESIS_HASH, hex};
use sluice_proto::timestamp::Timestamp;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::breakers::WorkingBreakers;
use super::control;
use super::family::{self, FamilyOp};
use super::lessons::WorkingLessons;
use super::locks::LockOp;
use crate::cloud_event;
use crate::coordinator::Shared;
use crate::dispatcher::{self, Dispatch};
use crate::loader::LoadedRun;
use crate::snapshot::{self, Followed};
use crate::store::StoreError;
use crate::store::approvals::ApprovalRow;
use crate::store::attempts::{AttemptKey, StoredAttempt, Unchanged};
use crate::store::events::EventRow;
use crate::store::runs::RunRow;
use crate::store::snapshots::SnapshotRow;
use crate::store::timers::TimerRow;

/// A run with what the batch has made of it so far.
pub(super) struct WorkingRun {
    pub(super) template: Arc<Template>,
    pub(super) state: Arc<State>,
    /// Text to keep with a new run.
    pub(super) new_template_text: Option<Arc<str>>,
    /// The retry that a person commanded in this batch.
    pub(super) commanded: Option<RetryStep>,
    started_month: time::Date,
    /// None for a new run.
    pub(super) expected_sequence: Option<u64>,
    last_hash: [u8; 32],
}

/// Everything a batch is about to write, publish and answer.
#[derive(Default)]
pub(super) struct Working {
    pub(super) runs: HashMap<String, WorkingRun>,
    pub(super) events: Vec<EventRow>,
    pub(super) snapshots: Vec<SnapshotRow>,
    pub(super) feed: Vec<(String, Bytes)>,
    pub(super) created: HashMap<AttemptKey, (StoredAttempt, AttemptDraft)>,
    /// Deleted attempts, with what must still be so.
    pub(super) deleted: Vec<(AttemptKey, Unchanged)>,
    pub(super) opened: Vec<ApprovalRow>,
    pub(super) closed: Vec<(String, String)>,
    pub(super) lock_ops: Vec<LockOp>,
    pub(super) family_ops: VecDeque<FamilyOp>,
    pub(super) timers_started: Vec<TimerRow>,
    pub(super) timers_stopped: Vec<TimerRow>,
    pub(super) breakers: WorkingBreakers,
    pub(super) lessons: WorkingLessons,
    /// What cancellations clean up, by run.
    pub(super) cleanups: HashMap<String, CancelCleanup>,
    /// The cancelled run whose cleanup the next cancellation is part of.
    pub(super) cancelled_for: Option<WorkflowId>,
}

/// The clock and the chance of one batch.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
}

impl Working {
    /// Adds runs as they were read.
    pub(super) fn add(&mut self, loaded: HashMap<String, LoadedRun>) {
        for (id, run) in loaded {
            self.runs.entry(id).or_insert(WorkingRun {
                template: run.template,
                state: run.state,
                new_template_text: None,
                commanded: None,
                started_month: run.head.started_month,
                expected_sequence: Some(run.head.sequence),
                last_hash: run.head.last_hash,
            });
        }
    }

    /// Reads a run that the batch has to do with after all; false if there is none.
    pub(super) async fn join(
        &mut self,
        shared: &Shared,
        connection: &mut PgConnection,
        id: &WorkflowId,
    ) -> Result<bool, StoreError> {
        if self.runs.contains_key(id.as_str()) {
            return Ok(true);
        }
        self.add(shared.loader.load(connection, &[id.to_string()]).await?);
        let Some(joined) = self.runs.get(id.as_str()) else { return Ok(false) };
        let template = Arc::clone(&joined.template);
        self.breakers.load(connection, std::iter::once(&*template)).await?;
        Ok(true)
    }

    /// Adds a run that does not exist yet.
    pub(super) fn add_new(
        &mut self,
        id: &WorkflowId,
        template: Arc<Template>,
        text: Arc<str>,
        parent: Option<WorkflowId>,
        moment: Moment,
    ) {
        let state = State { parent_workflow_id: parent, ..State::new(id.clone()) };
        let run = WorkingRun {
            template,
            state: Arc::new(state),
            new_template_text: Some(text),
            commanded: None,
            started_month: month_of(moment.now),
            expected_sequence: None,
            last_hash: GENESIS_HASH,
        };
        self.runs.insert(id.to_string(), run);
    }

    /// Advances a run by one input. `settled` names the attempt that the input settles, with what the
    /// deletion must find unchanged.
    pub(super) fn advance(
        &mut self,
        shared: &Shared,
        id: &WorkflowId,
        input: Input,
        settled: Option<(&AttemptKey, Unchanged)>,
        moment: Moment,
    ) -> Result<Result<(), Refused>, StoreError> {
        let Some(run) = self.runs.get_mut(id.as_str()) else {
            return Ok(Err(Refused::NotOutstanding));
        };
        let cancelled = match &input {
            Input::Cancel(cancel) => Some(cancel.clone()),
            _ => None,
        };
        let situation = Situation {
            template: &run.template,
            agents: &shared.agents,
            now: moment.now,
            jitter: fastrand::f64() * 2.0 - 1.0,
            breakers: self.breakers.of(&run.template),
            lessons: self.lessons.known(),
        };
        let Advance { state, events, effects } = match advance(&situation, &run.state, input) {
            Ok(advance) => advance,
            Err(refused) => return Ok(Err(refused)),
        };
        if cancelled.is_some() {
            self.cleanups.insert(id.to_string(), control::cleanup(&run.state, &effects));
        }
        let ends = !run.state.status.is_terminal() && state.status.is_terminal();
        let follow_up = family::follow_up(&state, cancelled, self.cancelled_for.take(), ends);
        self.family_ops.extend(follow_up);
        run.commanded = control::commanded(&events).or(run.commanded.take());
        self.record(shared, id, state, events, moment)?;
        for effect in effects {
            self.note(shared, id, effect, settled, moment);
        }
        Ok(Ok(()))
    }

    /// Writes down what became true, and keeps the state after every tenth event.
    fn record(
        &mut self,
        shared: &Shared,
        id: &WorkflowId,
        mut state: State,
        mut events: Vec<NewEvent>,
        moment: Moment,
    ) -> Result<(), StoreError> {
        let Some(run) = self.runs.get_mut(id.as_str()) else { return Ok(()) };
        let mut followed = Followed::up_to(state.sequence, &run.state);
        let mut sequence = run.state.sequence;
        while !events.is_empty() {
            let mut kept = Vec::new();
            for event in events.drain(..) {
                sequence += 1;
                let event = run.event(shared, id, &state, sequence, event, moment);
                let sealed = shared.key.seal(&event).map_err(|error| StoreError::Unreadable {
                    what: "new event".to_owned(),
                    cause: error.to_string(),
                })?;
                if let Some(body) = cloud_event::encode(&event, &sealed.body) {
                    let slug = template::slug(&run.template.file).replace('.', "-");
                    let subject = shared.bus.subjects().event(&slug, id, event.body.action());
                    self.feed.push((subject, body));
                }
                run.last_hash = sealed.hash;
                self.events.push(EventRow {
                    started_month: run.started_month,
                    workflow_id: id.to_string(),
                    sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
                    body: sealed.body,
                    signature: sealed.signature.to_vec(),
                });
                if let Some(state) = followed.after(&event) {
                    let made = snapshot::make(&shared.key, state, run.last_hash, moment.now)?;
                    self.snapshots.push(made.0);
                    kept.push(made.1);
                }
            }
            // That a state was kept is an event too, behind those of the input, and may be a tenth one.
            for note in kept {
                let body = EventBody::CreateSnapshot(note);
                sluice_engine::apply(&mut state, None, &body, moment.now);
                events.push(NewEvent { step: None, body });
            }
        }
        debug_assert!(followed.is_none_or(&state), "a fold of the events gives another state");
        run.state = Arc::new(state);
        Ok(())
    }

    fn note(
        &mut self,
        shared: &Shared,
        id: &WorkflowId,
        effect: Effect,
        settled: Option<(&AttemptKey, Unchanged)>,
        moment: Moment,
    ) {
        match effect {
            Effect::CreateAttempt(draft) => {
                let stored = stored_attempt(shared, id, &draft, moment.now);
                let key = AttemptKey::from(&stored.id);
                self.created.insert(key, (stored, *draft));
            }
            Effect::DropAttempt(wish) => {
                let key = AttemptKey::from(&CommandId {
                    workflow_id: id.clone(),
                    step_path: wish.path,
                    visit: wish.visit,
                    attempt: wish.attempt,
                });
                // An attempt that this very batch made was never written.
                if self.created.remove(&key).is_none() {
                    let own = settled.filter(|(settled, _)| **settled == key);
                    let unchanged = own.map_or(Unchanged::Anything, |(_, unchanged)| unchanged);
                    self.deleted.push((key, unchanged));
                }
            }
            Effect::RequestLock(wish) => {
                self.lock_ops.push(LockOp::Request { run: id.clone(), wish })
            }
            Effect::WithdrawLockRequest(wish) => {
                self.lock_ops.push(LockOp::Withdraw { run: id.clone(), wish });
            }
            Effect::ReleaseLock(name) => {
                self.lock_ops.push(LockOp::Release { run: id.clone(), name });
            }
            Effect::OpenApproval(approval_id) => self.open_approval(id, &approval_id),
            Effect::CloseApproval(approval_id) => self.close_approval(id, approval_id),
            Effect::ChangeBreaker { step, change } => {
                if let Some(run) = self.runs.get(id.as_str()) {
                    self.breakers.change(&run.template, step, &change);
                }
            }
            Effect::Learn { agent, signature, change } => {
                self.lessons.learn(agent.to_string(), signature, &change);
            }
            Effect::StartChild { wish, context } => {
                self.family_ops.push_back(FamilyOp::Start { parent: id.clone(), wish, context });
            }
            Effect::LeaveChild(wish) => {
                let (parent, child) = (id.clone(), wish.workflow_id);
                self.family_ops.push_back(FamilyOp::Leave { parent, child });
            }
            Effect::StartTimer(wish) => self.timers_started.push(timer_row(id, &wish)),
            Effect::StopTimer(wish) => {
                let row = timer_row(id, &wish);
                // One that this very batch started was never written.
                self.timers_started.retain(|started| *started != row);
                self.timers_stopped.push(row);
            }
        }
    }

    fn open_approval(&mut self, id: &WorkflowId, approval_id: &str) {
        let run = self.runs.get(id.as_str());
        let Some(approval) = run.and_then(|run| run.state.approval(approval_id)) else { return };
        let row = ApprovalRow {
            approval_id: approval_id.to_owned(),
            workflow_id: id.to_string(),
            step_id: approval.step.clone(),
            reason: approval.request.reason.clone(),
            risk_level: approval.request.risk_level.clone(),
            approver_role: approval.request.approver_role.clone(),
            required: i32::try_from(approval.request.required).unwrap_or(i32::MAX),
            created_at: approval.created_at.into(),
        };
        self.opened.push(row);
    }

    fn close_approval(&mut self, id: &WorkflowId, approval_id: String) {
        let run = self.runs.get(id.as_str());
        let status = run.and_then(|run| run.state.approval(&approval_id)).map(|a| a.status.clone());
        let status = status.filter(|status| status != "pending");
        self.closed.push((approval_id, status.unwrap_or_else(|| "cancelled".to_owned())));
    }

    /// The rows of runs that have changed: new ones, and those that were there.
    pub(super) fn run_rows(&self) -> (Vec<RunRow>, Vec<RunRow>) {
        let changed = self.runs.values().filter(|run| run.has_changed());
        let mut rows: Vec<&WorkingRun> = changed.collect();
        // The same order everywhere keeps two coordinators from waiting for each other.
        rows.sort_by(|a, b| a.state.workflow_id.cmp(&b.state.workflow_id));
        let (new, old): (Vec<&WorkingRun>, Vec<&WorkingRun>) =
            rows.into_iter().partition(|run| run.expected_sequence.is_none());
        (
            new.into_iter().map(WorkingRun::row).collect(),
            old.into_iter().map(WorkingRun::row).collect(),
        )
    }

    /// Commands to publish once the batch is committed.
    pub(super) fn dispatches(&self, shared: &Shared) -> Vec<Dispatch> {
        self.created
            .values()
            .filter_map(|(stored, draft)| {
                let run = self.runs.get(stored.id.workflow_id.as_str())?;
                dispatcher::dispatch(shared, &run.state, stored, draft)
            })
            .collect()
    }
}

impl WorkingRun {
    fn event(
        &self,
        shared: &Shared,
        id: &WorkflowId,
        state: &State,
        sequence: u64,
        event: NewEvent,
        moment: Moment,
    ) -> Event {
        Event {
            event_id: uuid::Uuid::now_v7().to_string(),
            workflow_id: id.clone(),
            parent_workflow_id: state.parent_workflow_id.clone(),
            sequence,
            step_id: event.step,
            timestamp: moment.now,
            event_version: EVENT_VERSION,
            prev_hash: hex(&self.last_hash),
            key_id: shared.key.key_id().to_owned(),
            body: event.body,
        }
    }

    pub(super) fn has_changed(&self) -> bool {
        self.expected_sequence.unwrap_or(0) != self.state.sequence
    }

    fn row(&self) -> RunRow {
        let current_step = sluice_engine::current_step(&self.template, &self.state);
        let expected = self.expected_sequence.unwrap_or(0);
        RunRow {
            expected_sequence: i64::try_from(expected).unwrap_or(i64::MAX),
            ..RunRow::of(&self.state, self.started_month, current_step, self.last_hash.to_vec())
        }
    }
}

/// The row of a new attempt.
pub(crate) fn stored_attempt(
    shared: &Shared,
    id: &WorkflowId,
    draft: &AttemptDraft,
    now: Timestamp,
) -> StoredAttempt {
    StoredAttempt {
        id: CommandId {
            workflow_id: id.clone(),
            step_path: draft.wish.path.clone(),
            visit: draft.wish.visit,
            attempt: draft.wish.attempt,
        },
        agent: draft.wish.agent.to_string(),
        urgent: draft.urgent,
        row: sluice_engine::attempt::AttemptRow {
            fence: 1,
            dispatch: 1,
            lost: 0,
            claim: draft.claim,
            idempotent: draft.idempotent,
            worker: None,
            claimed: false,
            leased_at: None,
            lease_until: None,
            published: None,
            due_at: draft.wish.due_at.unwrap_or(now),
            lease_ms: shared.lease_ms,
            timeout_ms: draft.timeout_ms,
            queue_timeout_ms: draft.queue_timeout_ms,
        },
    }
}

/// The row of a moment that a step waits for.
pub(crate) fn timer_row(id: &WorkflowId, wish: &WishedTimer) -> TimerRow {
    TimerRow {
        workflow_id: id.to_string(),
        step_path: wish.step.clone(),
        visit: i32::try_from(wish.visit).unwrap_or(i32::MAX),
        due_at: wish.due_at.into(),
    }
}

fn month_of(moment: Timestamp) -> time::Date {
    let date = OffsetDateTime::from(moment).date();
    date.replace_day(1).unwrap_or(date)
}
