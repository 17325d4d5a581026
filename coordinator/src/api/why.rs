//! `workflow.why`: what a run waits for, since when, until when, and who can move it.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::attempt::Published;
use sluice_engine::{State, WishedAttempt, WishedChild, WishedLock, WishedTimer, wishes};
use sluice_proto::event::Status;
use sluice_proto::ids::AgentName;
use sluice_proto::operations::{Wait, WaitKind, WhyResponse};
use sluice_proto::timestamp::Timestamp;
use sqlx::PgConnection;

use super::{Answer, encode, status};
use crate::coordinator::{Shared, now};
use crate::intake::api_error;
use crate::loader::LoadedRun;
use crate::store::attempts::{self, StoredAttempt};
use crate::store::{StoreError, locks, workers};

pub(super) async fn handle(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let run = status::find(shared, body).await?;
    let waits = waits(shared, &run).await.map_err(|error| api_error(&error))?;
    let sentences: Vec<&str> = waits.iter().map(|wait| wait.sentence.as_str()).collect();
    encode(&WhyResponse {
        workflow_id: run.state.workflow_id.to_string(),
        status: run.state.status,
        sentence: sentences.join("; "),
        waits,
    })
}

async fn waits(shared: &Shared, run: &LoadedRun) -> Result<Vec<Wait>, StoreError> {
    let state = &run.state;
    let wished = wishes(&run.template, state);
    let mut waits = Vec::new();
    if state.status.is_terminal() {
        waits.push(ended(state));
    }
    waits.extend(wished.approvals.iter().filter_map(|id| approval(state, id)));
    let mut connection = shared.pool.acquire().await?;
    for lock in wished.locks {
        waits.push(lock_wait(&mut connection, state, lock).await?);
    }
    waits.extend(wished.timers.iter().map(timer));
    waits.extend(child_waits(shared, &mut connection, state, &wished.children).await?);
    let rows = attempts::of_run(&mut connection, state.workflow_id.as_str()).await?;
    let (deliveries, work): (Vec<_>, Vec<_>) =
        wished.attempts.into_iter().partition(|wish| wish.agent == AgentName::notify());
    for wish in work.into_iter().chain(deliveries) {
        let is_this =
            |row: &&StoredAttempt| wish.is(&row.id.step_path, row.id.visit, row.id.attempt);
        let row = rows.iter().find(is_this);
        waits.push(attempt_wait(shared, &mut connection, &wish, row).await?);
    }
    if waits.is_empty() {
        waits.push(nothing(state));
    }
    Ok(waits)
}

/// A wait of which only the words are known.
fn wait(kind: WaitKind, step: Option<&str>, sentence: String, who: String) -> Wait {
    Wait {
        kind,
        step_id: step.map(str::to_owned),
        sentence,
        who,
        since: None,
        until: None,
        attempt: None,
        agent: None,
        worker: None,
        lock: None,
        holder: None,
        position: None,
        approval_id: None,
        approver_role: None,
        child_workflow_id: None,
    }
}

fn ended(state: &State) -> Wait {
    let at = state.completed_at.unwrap_or(state.updated_at);
    let status = state.status.as_str();
    let cause = match (&state.failed_step, &state.error_message) {
        (Some(step), Some(message)) => format!(": step '{step}': {message}"),
        _ => String::new(),
    };
    let sentence = format!("the run ended as {status} at {}{cause}", clock(at));
    let who = match &state.failed_step {
        Some(step) if state.status == Status::Failed => {
            format!("whoever has it go on: `sluice retry {} {step}`", state.workflow_id)
        }
        _ => "nobody: only a new run goes on from here".to_owned(),
    };
    Wait { since: Some(at), ..wait(WaitKind::Ended, None, sentence, who) }
}

fn nothing(state: &State) -> Wait {
    let sentence = format!(
        "the run is {} and waits for something that this command has no words for, since {}",
        state.status.as_str(),
        clock(state.updated_at)
    );
    let who = "the watchdog, if it waits for nothing at all".to_owned();
    Wait { since: Some(state.updated_at), ..wait(WaitKind::Other, None, sentence, who) }
}

fn approval(state: &State, id: &str) -> Option<Wait> {
    let approval = state.approval(id)?;
    let request = &approval.request;
    let role = request.approver_role.as_deref();
    let by = role.map_or_else(|| "somebody".to_owned(), |role| format!("a {role}"));
    let count = match request.required {
        0 | 1 => String::new(),
        required => format!(", {} of {required} so far", approval.approvers.len()),
    };
    let sentence = format!(
        "step '{}' waits for {by} to decide ({} risk{count}) since {}, without a limit",
        approval.step,
        request.risk_level,
        clock(approval.created_at)
    );
    let who = format!("{by}, with `sluice resume {}`", state.workflow_id);
    Some(Wait {
        since: Some(approval.created_at),
        approval_id: Some(id.to_owned()),
        approver_role: request.approver_role.clone(),
        ..wait(WaitKind::Approval, Some(&approval.step), sentence, who)
    })
}

/// How the children stand that the run waits for.
async fn child_waits(
    shared: &Shared,
    connection: &mut PgConnection,
    state: &State,
    wished: &[WishedChild],
) -> Result<Vec<Wait>, StoreError> {
    let ids: Vec<String> = wished.iter().map(|wish| wish.workflow_id.to_string()).collect();
    let children = shared.loader.load(connection, &ids).await?;
    let told = wished.iter().map(|wish| {
        let since = state.active.get(&wish.step).map(|position| position.entered_at);
        child_wait(wish, since, children.get(wish.workflow_id.as_str()))
    });
    Ok(told.collect())
}

fn child_wait(wish: &WishedChild, since: Option<Timestamp>, child: Option<&LoadedRun>) -> Wait {
    let id = &wish.workflow_id;
    let standing = child.map_or_else(
        || "which is not there".to_owned(),
        |child| {
            let step = sluice_engine::current_step(&child.template, &child.state);
            let at = step.map(|step| format!(" at '{step}'")).unwrap_or_default();
            format!("which is {}{at}", child.state.status.as_str())
        },
    );
    let since_when = since.map(|since| format!(" since {}", clock(since))).unwrap_or_default();
    let sentence = format!("step '{}' waits for its child {id}{since_when}, {standing}", wish.step);
    let who = format!("whoever can move the child: `sluice why {id}`");
    Wait {
        since,
        child_workflow_id: Some(id.to_string()),
        ..wait(WaitKind::Child, Some(&wish.step), sentence, who)
    }
}

fn timer(wish: &WishedTimer) -> Wait {
    let sentence = format!("step '{}' waits until {}", wish.step, clock(wish.due_at));
    let who = "nobody has to: it goes on by itself".to_owned();
    Wait { until: Some(wish.due_at), ..wait(WaitKind::Timer, Some(&wish.step), sentence, who) }
}

async fn lock_wait(
    connection: &mut PgConnection,
    state: &State,
    wish: WishedLock,
) -> Result<Wait, StoreError> {
    let found = locks::list(connection, Some(&wish.name)).await?.pop();
    let own = |waiter: &&sluice_proto::operations::LockWaiter| {
        waiter.workflow_id == state.workflow_id.as_str() && waiter.step_id == wish.step
    };
    let place = found.as_ref().and_then(|lock| lock.waiters.iter().find(own));
    let holder = found.as_ref().and_then(|lock| lock.holder.as_ref());
    let since = place.map(|place| place.since).or(wish.queued_since);
    let mut sentence = format!("step '{}' waits for lock '{}'", wish.step, wish.name);
    if let Some(since) = since {
        sentence.push_str(&format!(" since {}", clock(since)));
    }
    if let Some(place) = place {
        sentence.push_str(&format!(", {} in the queue", ordinal(place.position)));
    }
    sentence.push_str(&until(wish.wait_until));
    let who = match holder {
        Some(holder) => {
            let step = holder.current_step.as_deref().unwrap_or("its start");
            sentence.push_str(&format!(
                "; {} holds it since {} ({} at {step})",
                holder.workflow_id,
                clock(holder.since),
                holder.status
            ));
            format!(
                "whoever moves {} (`sluice why {}`); `sluice locks release` takes the lock away",
                holder.workflow_id, holder.workflow_id
            )
        }
        None => "nobody has to: it is about to be handed over".to_owned(),
    };
    Ok(Wait {
        since,
        until: wish.wait_until,
        holder: holder.map(|holder| holder.workflow_id.clone()),
        position: place.map(|place| u64::from(place.position)),
        lock: Some(wish.name),
        ..wait(WaitKind::Lock, Some(&wish.step), sentence, who)
    })
}

async fn attempt_wait(
    shared: &Shared,
    connection: &mut PgConnection,
    wish: &WishedAttempt,
    stored: Option<&StoredAttempt>,
) -> Result<Wait, StoreError> {
    let named = |mut wait: Wait| {
        wait.agent = Some(wish.agent.to_string());
        wait.attempt = Some(wish.attempt);
        wait
    };
    let path = wish.path.as_str();
    let Some(stored) = stored else {
        let sentence = format!("the attempt of '{path}' is being settled, or is missing");
        let who = "the watchdog restores it if it is missing".to_owned();
        return Ok(named(wait(WaitKind::Dispatch, Some(path), sentence, who)));
    };
    let row = &stored.row;
    if let (Some(lease_until), Some(worker)) = (row.lease_until, &row.worker) {
        let name = workers::name_of(connection, worker).await?.unwrap_or_else(|| worker.clone());
        let since = row.leased_at.unwrap_or(lease_until);
        let limit = since.plus_ms(row.timeout_ms);
        let sentence = format!(
            "agent '{}' works at '{path}' (attempt {}) on worker '{name}' since {}, at most until {}; \
             without a sign of life the attempt is given up at {}",
            wish.agent,
            wish.attempt,
            clock(since),
            clock(limit),
            clock(lease_until)
        );
        let who = format!("the agent, or worker '{name}'");
        let wait = wait(WaitKind::Worker, Some(path), sentence, who);
        return Ok(named(Wait {
            since: Some(since),
            until: Some(limit),
            worker: Some(name),
            ..wait
        }));
    }
    if row.due_at > now() {
        let sentence =
            format!("attempt {} of '{path}' is due at {}", wish.attempt, clock(row.due_at));
        let who = "nobody has to: it starts by itself".to_owned();
        let wait = wait(WaitKind::Retry, Some(path), sentence, who);
        return Ok(named(Wait { until: Some(row.due_at), ..wait }));
    }
    let queue_until = row.queue_timeout_ms.map(|ms| row.due_at.plus_ms(ms));
    let waits = match row.published {
        Some(published) => queued(shared, connection, wish, stored, published).await?,
        None => {
            let sentence = format!("the command of '{path}' is on its way to the queue");
            let who = "a coordinator that reaches NATS".to_owned();
            wait(WaitKind::Dispatch, Some(path), sentence, who)
        }
    };
    let sentence = format!("{}{}", waits.sentence, until(queue_until));
    Ok(named(Wait { sentence, since: Some(row.due_at), until: queue_until, ..waits }))
}

/// Published, and nobody has named himself for it.
async fn queued(
    shared: &Shared,
    connection: &mut PgConnection,
    wish: &WishedAttempt,
    stored: &StoredAttempt,
    published: Published,
) -> Result<Wait, StoreError> {
    let (path, agent) = (wish.path.as_str(), wish.agent.as_str());
    let lease_ago =
        Timestamp::from_micros(now().as_micros() - shared.lease_ms.cast_signed() * 1_000);
    let serving = workers::serving(connection, agent, lease_ago.into()).await?;
    let since = clock(stored.row.due_at);
    // Whether NATS answers or not, the rows say how many wait.
    let delivered = shared.bus.step_lane(&wish.agent, stored.urgent).await;
    let is_taken = delivered.is_ok_and(|lane| lane.delivered >= published.sequence);
    if is_taken {
        let sentence = format!(
            "agent '{agent}' was handed '{path}' (attempt {}), published {since}, and has not named its worker yet",
            wish.attempt
        );
        let who = format!("a worker of agent '{agent}'");
        return Ok(wait(WaitKind::Worker, Some(path), sentence, who));
    }
    let ahead = attempts::ahead(connection, agent, stored.urgent, published.sequence).await?;
    let place = ordinal(u32::try_from(ahead + 1).unwrap_or(u32::MAX));
    let (state, who) = match serving.len() {
        0 => (
            format!("no worker is known to run agent '{agent}'"),
            format!("whoever starts one: `sluice worker --agents {agent}`"),
        ),
        n => (
            format!("{n} of the workers run agent '{agent}' and are busy"),
            format!("the workers {}, or one more", serving.join(", ")),
        ),
    };
    let sentence = format!(
        "attempt {} of '{path}' waits for a worker since {since}, {place} in the queue of agent '{agent}': {state}",
        wish.attempt
    );
    Ok(Wait { position: Some(ahead + 1), ..wait(WaitKind::Queue, Some(path), sentence, who) })
}

fn until(moment: Option<Timestamp>) -> String {
    moment.map_or_else(String::new, |moment| format!(", at most until {}", clock(moment)))
}

/// To the second, which is enough for people.
fn clock(moment: Timestamp) -> String {
    let text = moment.to_string();
    format!("{}Z", text.get(..19).unwrap_or(&text))
}

fn ordinal(n: u32) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_moments_are_written_for_people() {
        let written: Vec<String> = [1, 2, 3, 4, 11, 12, 21, 112].map(ordinal).to_vec();
        assert_eq!(written, ["1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "112th"]);
        let moment = Timestamp::parse("2031-03-04T05:06:07.12Z").unwrap();
        assert_eq!(clock(moment), "2031-03-04T05:06:07Z");
    }
}
