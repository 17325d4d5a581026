//! Answers to people who steer a run, and what their wish has cleaned up.

use std::collections::BTreeSet;

use bytes::Bytes;
use sluice_engine::{Cancel, Effect, Input, State};
use sluice_proto::api::{
    AnnotateResponse, CancelCleanup, CancelResponse, EventRecord, RetryResponse,
};
use sluice_proto::event::{Annotate, Event, EventBody, RetryStep};
use sluice_proto::ids::AgentName;
use sluice_proto::message::CancelNotice;
use sluice_proto::seal::hex;

use super::batch::Verdict;
use super::item::{Item, Work};
use super::working::{Working, WorkingRun};
use crate::coordinator::Shared;
use crate::store::attempts::Dropped;

/// What `effects` of a cancellation clean up.
pub(super) fn cleanup(before: &State, effects: &[Effect]) -> CancelCleanup {
    let count = |wanted: fn(&Effect) -> bool| count(effects.iter().filter(|e| wanted(e)).count());
    let agents: BTreeSet<&AgentName> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::DropAttempt(wish) => Some(&wish.agent),
            _ => None,
        })
        .collect();
    let issues = before.approvals.iter().filter(|approval| {
        approval.status == "pending" && approval.request.approval_issue_id.is_some()
    });
    CancelCleanup {
        locks_released: count(|effect| matches!(effect, Effect::ReleaseLock(_))),
        linear_issues_closed: self::count(issues.count()),
        agents_notified: self::count(agents.len()),
        child_workflows_cancelled: 0,
        approvals_cancelled: count(|effect| matches!(effect, Effect::CloseApproval(_))),
        errors: Vec::new(),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What the person is told.
pub(super) fn answer(
    working: &Working,
    run: &WorkingRun,
    input: &Input,
) -> serde_json::Result<Vec<u8>> {
    match input {
        Input::Cancel(cancel) => serde_json::to_vec(&cancelled(working, run, cancel)),
        Input::Retry(retry) if run.commanded.is_some() => {
            let recorded = run.commanded.as_ref();
            serde_json::to_vec(&recorded.map(|recorded| retried(run, recorded, &retry.step)))
        }
        Input::Annotate(note) => serde_json::to_vec(&annotated(working, run, note)),
        _ => serde_json::to_vec(&sluice_engine::status_response(&run.template, &run.state)),
    }
}

fn annotated(working: &Working, run: &WorkingRun, note: &Annotate) -> Option<AnnotateResponse> {
    let id = &run.state.workflow_id;
    let of_run = working.events.iter().rev().filter(|row| row.workflow_id == id.as_str());
    let records = of_run.filter_map(|row| {
        let event = Event::read(&row.body, row.sequence.unsigned_abs()).ok()?;
        Some(EventRecord { event, signature: hex(&row.signature) })
    });
    let mut written = records.filter(|record| match &record.event.body {
        EventBody::Annotate(annotation) => annotation == note,
        _ => false,
    });
    Some(AnnotateResponse { workflow_id: id.clone(), annotation: written.next()? })
}

fn cancelled(working: &Working, run: &WorkingRun, cancel: &Cancel) -> CancelResponse {
    let state = &run.state;
    let open = !state.status.is_terminal();
    let id = state.workflow_id.as_str();
    CancelResponse {
        workflow_id: state.workflow_id.clone(),
        status: state.status,
        reason: cancel.reason.clone(),
        cancelled_by: cancel.cancelled_by.clone(),
        on_cancel: sluice_engine::current_step(&run.template, state).filter(|_| open),
        cleanup: working.cleanups.get(id).cloned().unwrap_or_default(),
    }
}

fn retried(run: &WorkingRun, recorded: &RetryStep, step: &str) -> RetryResponse {
    let RetryStep { retry_attempt, max_retries, backoff_delay, next_retry_at, .. } =
        recorded.clone();
    RetryResponse {
        workflow_id: run.state.workflow_id.clone(),
        step_id: step.to_owned(),
        retry_attempt,
        max_retries,
        backoff_delay,
        next_retry_at,
        status: "retrying".to_owned(),
        message: format!("step '{step}' runs again at {next_retry_at}"),
    }
}

/// The retry that these events command, if they do.
pub(super) fn commanded(events: &[sluice_engine::NewEvent]) -> Option<RetryStep> {
    events.iter().find_map(|event| match &event.body {
        EventBody::RetryStep(retry) if retry.command.is_some() => Some(retry.clone()),
        _ => None,
    })
}

/// Tells the workers that hold these attempts to stop; hands back the runs of those who could not be told.
pub(super) async fn tell_holders(shared: &Shared, dropped: Vec<Dropped>) -> Vec<(String, String)> {
    let mut untold = Vec::new();
    for Dropped { id, agent, fence } in dropped {
        let Ok(name) = AgentName::parse(&agent) else { continue };
        let subject = shared.bus.subjects().cancel(&name, &id.workflow_id);
        let run = id.workflow_id.to_string();
        let reason = "the run does not wait for it any more".to_owned();
        let notice = CancelNotice { v: 1, command_id: id, fence, reason };
        let body = serde_json::to_vec(&notice).unwrap_or_default();
        if let Err(error) = shared.bus.publish(subject, body).await {
            tracing::warn!(workflow.id = run, agent, %error, "a worker could not be told to stop");
            untold.push((run, format!("agent '{agent}' could not be told to stop: {error}")));
        }
    }
    untold
}

/// Adds to the answers of cancellations what could not be done after the commit.
pub(super) fn report_untold(items: &[Item], verdicts: &mut [Verdict], untold: &[(String, String)]) {
    if untold.is_empty() {
        return;
    }
    for (item, verdict) in items.iter().zip(verdicts) {
        let Work::Control { input: Input::Cancel(_), .. } = &item.work else { continue };
        let Verdict::Answered(Ok(answer)) = verdict else { continue };
        let Ok(mut response) = serde_json::from_slice::<CancelResponse>(answer) else { continue };
        let own = untold.iter().filter(|(run, _)| run == item.workflow_id.as_str());
        response.cleanup.errors.extend(own.map(|(_, error)| error.clone()));
        if let Ok(body) = serde_json::to_vec(&response) {
            *answer = Bytes::from(body);
        }
    }
}
