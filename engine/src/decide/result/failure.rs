//! An attempt has failed: it is made again, or the failure takes effect.

use serde_json::{Map, json};
use sluice_proto::event::{EventBody, FailStep, Next, RetryStep};
use sluice_proto::message::AgentError;

use super::message::{delivery_settled, message_settled};
use super::{Outstanding, OutstandingWork, after_undoing, diagnosis};
use crate::backoff;
use crate::decide::{Situation, is_retriable};
use crate::event::NewEvent;
use crate::plan::ask_or_pass;
use crate::route;
use crate::scope::RunScope;
use crate::state::State;

/// Characters kept of an error message.
pub(crate) const MAX_ERROR_CHARS: usize = 4_000;
/// Failures of an attempt that its agent was never called for.
pub(crate) const NOT_EXECUTED: [&str; 3] = ["lock_timeout", "queue_timeout", "command_too_large"];

/// Tries again where that is allowed and can help; else the failure takes effect.
pub(in crate::decide) fn fail_or_retry(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    error: &AgentError,
) -> Vec<NewEvent> {
    let retriable = is_retriable(error, situation, &outstanding.agent);
    let max_retries = outstanding.max_retries(situation);
    let step = outstanding.step();
    let mut fail = FailStep {
        error: clip_error(&error.message),
        error_type: error_type(outstanding, error),
        retriable,
        attempt: outstanding.attempt,
        ..FailStep::default()
    };
    if retriable && outstanding.attempt <= max_retries {
        let nominal_ms = backoff::nominal_ms(outstanding.attempt);
        let wait_ms = backoff::jittered_ms(nominal_ms, situation.jitter)
            .max(error.retry_after_ms.unwrap_or(0).min(MAX_RETRY_AFTER_MS));
        let retry = RetryStep {
            retry_attempt: outstanding.attempt,
            max_retries,
            backoff_delay: backoff::seconds(nominal_ms),
            next_retry_at: situation.now.plus_ms(wait_ms),
            recovery: diagnosis::hint(situation, outstanding, &fail),
            command: None,
        };
        return vec![
            NewEvent::of(step, EventBody::FailStep(fail)),
            NewEvent::of(step, EventBody::RetryStep(retry)),
        ];
    }
    if let Some(by) = diagnosis::doctor(situation, outstanding, &fail) {
        fail.diagnosed_by = Some(by);
        return vec![NewEvent::of(step, EventBody::FailStep(fail))];
    }
    match outstanding.work {
        OutstandingWork::Diagnosis => {
            // What counts is why the step failed; that nobody found out more is noted under its own path.
            let noted = NewEvent::of(&outstanding.path, EventBody::FailStep(fail));
            let failed = diagnosis::undiagnosed(situation, state, outstanding);
            std::iter::once(noted).chain(failed).collect()
        }
        OutstandingWork::Risk(approval) => {
            // Nobody could say how risky it is: then it is high, and a person decides.
            let assessment = Map::from_iter([
                ("risk_level".to_owned(), json!("high")),
                ("approver_role".to_owned(), json!("devops_engineer")),
                ("reasoning".to_owned(), json!(format!("risk unknown: {}", fail.error))),
                ("decided_by".to_owned(), json!("system")),
            ]);
            let asked = ask_or_pass(situation.template, state, step, approval, assessment);
            let failed = NewEvent::of(step, EventBody::FailStep(fail));
            std::iter::once(failed).chain(asked).collect()
        }
        OutstandingWork::Message(message) => {
            message_settled(situation, state, step, message, "failed", Some(fail.error))
        }
        OutstandingWork::Delivery => {
            vec![delivery_settled(state, outstanding, "failed", Some(fail.error))]
        }
        OutstandingWork::Undo(_) => {
            fail.is_final = true;
            fail.next = after_undoing(state, outstanding.around());
            vec![NewEvent::of(&outstanding.path, EventBody::FailStep(fail))]
        }
        OutstandingWork::Agent(_) | OutstandingWork::Gate(_) | OutstandingWork::Unattended => {
            fail.exhausted = matches!(outstanding.work, OutstandingWork::Agent(..))
                && !NOT_EXECUTED.contains(&error.code.as_str());
            vec![for_good(situation, state, step, fail)]
        }
    }
}

/// The failure takes effect.
pub(super) fn for_good(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    mut fail: FailStep,
) -> NewEvent {
    fail.is_final = true;
    let entry = situation.template.error_handling_of(step);
    fail.compensates = fail.exhausted && entry.is_some_and(|entry| entry.rollback);
    fail.next = next_after_failure(situation, state, step, &fail);
    NewEvent::of(step, EventBody::FailStep(fail))
}

/// So many characters of it.
pub(crate) fn clip(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

/// As much of an error message as is kept.
pub(crate) fn clip_error(message: &str) -> String {
    clip(message, MAX_ERROR_CHARS)
}

/// The stable word for what an agent reports.
pub(crate) fn agent_error_type(error: &AgentError) -> &str {
    let end = error.code.char_indices().nth(64).map_or(error.code.len(), |(at, _)| at);
    match &error.code[..end] {
        "" => "agent_error",
        code => code,
    }
}

/// Longest `Retry-After` that is honoured, milliseconds: an hour.
const MAX_RETRY_AFTER_MS: u64 = 3_600_000;

fn next_after_failure(
    situation: &Situation<'_>,
    state: &State,
    step: &str,
    fail: &FailStep,
) -> Next {
    let output = Map::from_iter([
        ("status".to_owned(), json!("error")),
        ("error".to_owned(), json!(fail.error)),
        ("error_type".to_owned(), json!(fail.error_type)),
    ]);
    let scope = RunScope::at(situation.template, state, step).answered(step, &output);
    route::after_failure(situation.template, &scope, step)
}

fn error_type(outstanding: &Outstanding<'_>, error: &AgentError) -> String {
    match outstanding.work {
        // Whatever went wrong with a gate, the run sees one kind of failure.
        OutstandingWork::Gate(..) => "gate_error".to_owned(),
        _ => agent_error_type(error).to_owned(),
    }
}
