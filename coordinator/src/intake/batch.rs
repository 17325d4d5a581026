//! One batch: read, decide, write, commit; then publish.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::Input;
use sluice_engine::attempt::{AttemptRow, Loss};
use sluice_proto::api::{ResumeResponse, verb};
use sluice_proto::error::ApiError;
use sluice_proto::message::Refusal;
use sluice_proto::operations::ReleaseLockResponse;
use sqlx::{Acquire, PgConnection};

use super::control;
use super::family::{self, FamilyOp};
use super::item::{Item, Request, Work};
use super::locks::{self, LockOp};
use super::working::{Moment, Working};
use crate::checkpoints;
use crate::coordinator::{Shared, now};
use crate::store::attempts::{self, AttemptKey, Dropped, StoredAttempt, Unchanged};
use crate::store::dead_letters::{self, NewLetter};
use crate::store::runs::RunRow;
use crate::store::{StoreError, approvals, events, requests, runs, snapshots, templates, timers};

/// What became of an input.
pub(crate) enum Verdict {
    /// It is in the record.
    Recorded,
    /// It changed nothing.
    Refused(Refusal),
    /// The caller's answer.
    Answered(Result<Bytes, ApiError>),
}

/// Applies `items` in one transaction and publishes what follows. Nothing has happened on an error.
pub(super) async fn commit(
    shared: &Arc<Shared>,
    items: &[Item],
) -> Result<Vec<Verdict>, StoreError> {
    let mut connection = shared.pool.acquire().await?;
    let moment = Moment { now: now() };
    let mut working = Working::default();
    working.add(shared.loader.load(&mut connection, &run_ids(items)).await?);
    let outstanding = find_outstanding(&mut connection, items).await?;
    let known = working.runs.values().map(|run| Arc::clone(&run.template)).collect::<Vec<_>>();
    let started = items.iter().filter_map(|item| match &item.work {
        Work::Start { template, .. } => Some(&*template.template),
        _ => None,
    });
    let templates = known.iter().map(|template| &**template).chain(started);
    working.breakers.load(&mut connection, templates).await?;
    let agent_of = |item: &Item| match &item.work {
        Work::Lost { id, .. } => Some(outstanding.get(&AttemptKey::from(id))?.agent.clone()),
        _ => None,
    };
    working.lessons.load(&mut connection, items, agent_of).await?;
    let mut verdicts = Vec::with_capacity(items.len());
    for item in items {
        let repeated = match item.work.request() {
            Some(request) => repeated(&mut connection, request).await?,
            None => None,
        };
        verdicts.push(match repeated {
            Some(answer) => Verdict::Answered(answer),
            None => apply(shared, &mut working, item, &outstanding, moment)?,
        });
    }
    let nothing = working.lock_ops.is_empty() && working.family_ops.is_empty();
    if working.events.is_empty() && nothing {
        return Ok(verdicts);
    }
    let mut transaction = connection.begin().await?;
    // Each may lead to more of the other.
    while !working.family_ops.is_empty() || !working.lock_ops.is_empty() {
        family::settle(shared, &mut transaction, &mut working, moment).await?;
        locks::settle(shared, &mut transaction, &mut working, moment).await?;
    }
    answer_callers(&working, items, &mut verdicts);
    let dropped = write(shared, &mut transaction, &working, moment).await?;
    keep_answers(&mut transaction, items, &verdicts).await?;
    bury_undeliverable(shared, &mut transaction, items, &verdicts).await?;
    transaction.commit().await?;
    drop(connection);
    shared.metrics.batches.add(1);
    shared.metrics.inputs.add(items.len());
    shared.metrics.events.add(working.events.len());
    publish(shared, working).await;
    let untold = control::tell_holders(shared, dropped).await;
    control::report_untold(items, &mut verdicts, &untold);
    Ok(verdicts)
}

/// What a request of this name was answered before. The name of another kind of request is a mistake of
/// the caller's: its answer would say that something was done which was not.
async fn repeated(
    connection: &mut PgConnection,
    request: &Request,
) -> Result<Option<Result<Bytes, ApiError>>, StoreError> {
    let found = requests::find(connection, &request.id).await?;
    Ok(found.map(|(verb, answer)| match verb == request.verb {
        true => Ok(answer.into()),
        false => Err(ApiError::field("request_id", format!("names an earlier request, a {verb}"))),
    }))
}

fn run_ids(items: &[Item]) -> Vec<String> {
    let parents = items.iter().filter_map(|item| match &item.work {
        Work::Start { parent, .. } => parent.as_ref(),
        _ => None,
    });
    let mut ids: Vec<String> = items
        .iter()
        .map(|item| &item.workflow_id)
        .chain(parents)
        .map(ToString::to_string)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

type Outstanding = HashMap<AttemptKey, StoredAttempt>;

async fn find_outstanding(
    connection: &mut PgConnection,
    items: &[Item],
) -> Result<Outstanding, StoreError> {
    let keys: Vec<AttemptKey> = items
        .iter()
        .filter_map(|item| match &item.work {
            Work::Result { id, .. } | Work::Lost { id, .. } => Some(AttemptKey::from(id)),
            _ => None,
        })
        .collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let found = attempts::find(connection, &keys).await?;
    Ok(found.into_iter().map(|stored| (AttemptKey::from(&stored.id), stored)).collect())
}

fn apply(
    shared: &Arc<Shared>,
    working: &mut Working,
    item: &Item,
    outstanding: &Outstanding,
    moment: Moment,
) -> Result<Verdict, StoreError> {
    let (input, settled) = match &item.work {
        Work::Result { id, agent, fence, report } => {
            let key = AttemptKey::from(id);
            let Some(stored) = outstanding.get(&key) else {
                return Ok(Verdict::Refused(Refusal::NotOutstanding));
            };
            if let Err(refusal) = accept(stored, agent, *fence) {
                return Ok(Verdict::Refused(refusal));
            }
            let input = Input::Result {
                path: id.step_path.clone(),
                visit: id.visit,
                attempt: id.attempt,
                report: report.clone(),
            };
            (input, Some((key, Unchanged::Fence(*fence))))
        }
        Work::Lost { id, row, loss } => {
            let key = AttemptKey::from(id);
            let same = |stored: &StoredAttempt| stored.row == **row;
            if !outstanding.get(&key).is_some_and(same) {
                return Ok(Verdict::Refused(Refusal::StaleFence));
            }
            let input = Input::Lost {
                path: id.step_path.clone(),
                visit: id.visit,
                attempt: id.attempt,
                loss: *loss,
            };
            (input, Some((key, Unchanged::Lease(row.fence, row.lease_until))))
        }
        Work::Start { template, context, parent, .. } => {
            if working.runs.contains_key(item.workflow_id.as_str()) {
                return Ok(Verdict::from(sluice_engine::Refused::AlreadyStarted));
            }
            let (template, text) = (Arc::clone(&template.template), Arc::clone(&template.text));
            if let Some(parent) = parent {
                let (child, template_name) = (item.workflow_id.clone(), template.file.clone());
                let adopted = Input::ChildAdopted { child, template_name };
                if let Err(refused) = working.advance(shared, parent, adopted, None, moment)? {
                    return Ok(Verdict::from(refused));
                }
            }
            working.add_new(&item.workflow_id, template, text, parent.clone(), moment);
            (Input::Start { context: context.clone() }, None)
        }
        Work::Decide { .. } | Work::Control { .. }
            if !working.runs.contains_key(item.workflow_id.as_str()) =>
        {
            let missing = ApiError::workflow_not_found(item.workflow_id.as_str());
            return Ok(Verdict::Answered(Err(missing)));
        }
        Work::Decide { decision, .. } => (Input::Decision(decision.clone()), None),
        Work::Control { input, .. } => (input.clone(), None),
        Work::GrantLock { name } => {
            working.lock_ops.push(LockOp::Grant { name: name.clone() });
            return Ok(Verdict::Recorded);
        }
        Work::ChildOver { child } => {
            let (parent, child) = (item.workflow_id.clone(), child.clone());
            working.family_ops.push_back(FamilyOp::Tell { parent, child });
            return Ok(Verdict::Recorded);
        }
        Work::TimerDue { step, visit } => {
            (Input::TimerDue { step: step.clone(), visit: *visit }, None)
        }
        Work::ReleaseLock { name, forced, .. } => {
            (Input::LockRevoked { name: name.clone(), forced: forced.clone() }, None)
        }
        Work::LockTimedOut { step, name } => {
            (Input::LockTimedOut { step: step.clone(), name: name.clone() }, None)
        }
    };
    let settled = settled.as_ref().map(|(key, unchanged)| (key, *unchanged));
    match working.advance(shared, &item.workflow_id, input, settled, moment)? {
        Ok(()) => Ok(Verdict::Recorded),
        Err(refused) => Ok(Verdict::from(refused)),
    }
}

fn accept(stored: &StoredAttempt, agent: &str, fence: u64) -> Result<(), Refusal> {
    if stored.agent != agent {
        return Err(Refusal::WrongAgent);
    }
    AttemptRow::accept(&stored.row, fence)
}

/// Answers show the state after everything that followed in the same transaction.
fn answer_callers(working: &Working, items: &[Item], verdicts: &mut [Verdict]) {
    for (item, verdict) in items.iter().zip(verdicts) {
        if !matches!(verdict, Verdict::Recorded) {
            continue;
        }
        let Some(run) = working.runs.get(item.workflow_id.as_str()) else { continue };
        let body = match &item.work {
            Work::Start { .. } => {
                serde_json::to_vec(&sluice_engine::execute_response(&run.template, &run.state))
            }
            Work::Decide { decision, .. } => {
                let word = if decision.approved { "approved" } else { "rejected" };
                serde_json::to_vec(&resume_response(run, word))
            }
            Work::Control { input, .. } => control::answer(working, run, input),
            Work::ReleaseLock { name, .. } => {
                serde_json::to_vec(&release_response(working, run, name))
            }
            _ => continue,
        };
        let answer = body.map(Bytes::from).map_err(|error| {
            tracing::error!(workflow.id = %item.workflow_id, %error, "an answer cannot be written as JSON");
            ApiError::new(sluice_proto::error::ErrorCode::Internal, "the answer cannot be written")
        });
        *verdict = Verdict::Answered(answer);
    }
}

fn release_response(
    working: &Working,
    run: &super::working::WorkingRun,
    name: &str,
) -> ReleaseLockResponse {
    let has_it = |other: &&super::working::WorkingRun| other.state.locks.contains_key(name);
    let next = working.runs.values().find(has_it);
    ReleaseLockResponse {
        name: name.to_owned(),
        workflow_id: run.state.workflow_id.to_string(),
        status: run.state.status,
        handed_to: next.map(|run| run.state.workflow_id.to_string()),
    }
}

fn resume_response(run: &super::working::WorkingRun, decision: &str) -> ResumeResponse {
    let state = &run.state;
    let last = state.approvals.iter().rev().find(|approval| !approval.approvers.is_empty());
    let asked = last.or(state.approvals.last());
    ResumeResponse {
        workflow_id: state.workflow_id.clone(),
        status: state.status,
        current_step: sluice_engine::current_step(&run.template, state),
        approval_decision: decision.to_owned(),
        approvals_received: asked
            .map_or(0, |approval| u32::try_from(approval.approvers.len()).unwrap_or(u32::MAX)),
        approvals_required: asked.map_or(0, |approval| approval.request.required),
        step_statuses: sluice_engine::step_statuses(&run.template, state),
        completed_at: state.completed_at,
    }
}

async fn write(
    shared: &Shared,
    transaction: &mut PgConnection,
    working: &Working,
    moment: Moment,
) -> Result<Vec<Dropped>, StoreError> {
    let (new_runs, old_runs) = working.run_rows();
    if !old_runs.is_empty() {
        let moved = runs::update(transaction, &old_runs).await?;
        if moved != old_runs.len() as u64 {
            return Err(StoreError::Conflict);
        }
    }
    if !new_runs.is_empty() {
        insert_new_runs(transaction, working, &new_runs).await?;
    }
    events::insert(transaction, &working.events).await?;
    let moved: Vec<&RunRow> = new_runs.iter().chain(&old_runs).collect();
    checkpoints::note(shared, transaction, &moved, moment.now).await?;
    if !working.snapshots.is_empty() {
        snapshots::insert(transaction, &working.snapshots).await?;
    }
    // Like everywhere, in the order of the keys: whoever waits for a row does not wait in a circle.
    let mut deleted = working.deleted.clone();
    deleted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let (fenced, unfenced): (Vec<_>, Vec<_>) =
        deleted.into_iter().partition(|(_, unchanged)| *unchanged != Unchanged::Anything);
    if !fenced.is_empty() && attempts::delete(transaction, &fenced).await? != fenced.len() as u64 {
        return Err(StoreError::Conflict);
    }
    working.breakers.write(transaction, moment.now).await?;
    working.lessons.write(transaction, moment.now).await?;
    let dropped = match unfenced.is_empty() {
        true => Vec::new(),
        false => attempts::take_out(transaction, &unfenced).await?,
    };
    if !working.created.is_empty() {
        let mut rows: Vec<StoredAttempt> =
            working.created.values().map(|(stored, _)| stored.clone()).collect();
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        attempts::insert(transaction, &rows).await?;
    }
    if !working.timers_stopped.is_empty() {
        timers::delete(transaction, &working.timers_stopped).await?;
    }
    if !working.timers_started.is_empty() {
        timers::insert(transaction, &working.timers_started).await?;
    }
    if !working.opened.is_empty() {
        approvals::insert(transaction, &working.opened).await?;
    }
    if !working.closed.is_empty() {
        approvals::close(transaction, &working.closed, moment.now.into()).await?;
    }
    Ok(dropped)
}

async fn insert_new_runs(
    transaction: &mut PgConnection,
    working: &Working,
    rows: &[RunRow],
) -> Result<(), StoreError> {
    let mut texts: Vec<(String, String, String)> = working
        .runs
        .values()
        .filter_map(|run| {
            let text = run.new_template_text.as_ref()?;
            Some((run.template.sha256.clone(), run.template.file.clone(), text.to_string()))
        })
        .collect();
    texts.sort_unstable();
    texts.dedup_by(|a, b| a.0 == b.0);
    templates::insert(transaction, &texts).await?;
    // An id that was taken in the meantime is found by the repetition of the batch.
    if runs::insert(transaction, rows).await?.len() != rows.len() {
        return Err(StoreError::Conflict);
    }
    Ok(())
}

/// An attempt that workers lost too often is kept as what would try it again: a retry from its step.
async fn bury_undeliverable(
    shared: &Shared,
    transaction: &mut PgConnection,
    items: &[Item],
    verdicts: &[Verdict],
) -> Result<(), StoreError> {
    for (item, verdict) in items.iter().zip(verdicts) {
        let (Work::Lost { id, row, loss: Loss::Undeliverable }, Verdict::Recorded) =
            (&item.work, verdict)
        else {
            continue;
        };
        let (workflow_id, worker) = (id.workflow_id.as_str(), row.worker.as_deref());
        let step = id.step_path.split('.').next().unwrap_or_default();
        let payload = serde_json::json!({"workflow_id": workflow_id, "step_id": step}).to_string();
        let last = worker.map(|worker| format!(", lastly under {worker}")).unwrap_or_default();
        let letter = NewLetter {
            source: "attempt",
            subject: &shared.bus.subjects().command(verb::WORKFLOW_RETRY),
            reason: &format!(
                "{id} was dispatched {} times and lost under workers{last}",
                row.dispatch
            ),
            payload: payload.as_bytes(),
            message_key: Some(&format!("attempt:{id}")),
            workflow_id: Some(workflow_id),
            delivered_count: Some(i64::from(row.dispatch)),
        };
        dead_letters::insert(transaction, &letter).await?;
        shared.metrics.dead_letters.add(1);
    }
    Ok(())
}

async fn keep_answers(
    transaction: &mut PgConnection,
    items: &[Item],
    verdicts: &[Verdict],
) -> Result<(), StoreError> {
    for (item, verdict) in items.iter().zip(verdicts) {
        let (Some(request), Verdict::Answered(Ok(answer))) = (item.work.request(), verdict) else {
            continue;
        };
        // Another one of the same name in this batch, or by another coordinator: the batch is
        // repeated and finds the answer.
        if !requests::insert(transaction, &request.id, request.verb, answer).await? {
            return Err(StoreError::Conflict);
        }
    }
    Ok(())
}

/// What the world learns once the batch is in the record.
async fn publish(shared: &Arc<Shared>, working: Working) {
    let dispatches = working.dispatches(shared);
    for run in working.runs.values().filter(|run| run.has_changed()) {
        shared.loader.remember(&run.state);
    }
    shared.dispatcher.dispatch(dispatches).await;
    for (subject, body) in working.feed {
        if let Err(error) = shared.bus.publish_event(subject, body).await {
            tracing::debug!(%error, "an event did not reach the feed; readers refetch gaps");
            break;
        }
    }
}
