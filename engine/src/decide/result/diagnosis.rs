//! Tiers of recovery above plain retries: what the agent is told when it is asked again, and asking another
//! agent why it keeps failing.

use serde_json::{Map, Value};
use sluice_proto::event::{EventBody, FailStep, RetryStep};
use sluice_proto::ids::AgentName;
use sluice_proto::message::Recovery;

use super::failure::{NOT_EXECUTED, for_good};
use super::{Outstanding, OutstandingWork};
use crate::backoff;
use crate::decide::Situation;
use crate::event::NewEvent;
use crate::lesson;
use crate::state::{Phase, State};
use crate::template::RetryLimits;

/// From this tier on another agent is asked.
const DIAGNOSIS_TIER: u8 = 3;
/// Entry of an escalation path that means people.
const PEOPLE: &str = "hitl";
/// Most bytes of a diagnosis that are handed on; a longer one helps nobody.
const MAX_DIAGNOSIS_BYTES: usize = 16 * 1024;

fn limits(situation: &Situation<'_>, outstanding: &Outstanding<'_>) -> RetryLimits {
    let effects = situation.agents.traits(&outstanding.agent).effects;
    situation.template.retry_limits(outstanding.around(), effects)
}

/// What an agent is told about its failure when it is asked again.
pub(super) fn hint(
    situation: &Situation<'_>,
    outstanding: &Outstanding<'_>,
    fail: &FailStep,
) -> Option<Recovery> {
    let learns = matches!(outstanding.work, OutstandingWork::Agent(_))
        && limits(situation, outstanding).tier >= lesson::LEARNING_TIER
        && !NOT_EXECUTED.contains(&fail.error_type.as_str());
    learns.then(|| lesson::recovery(situation, outstanding.agent.as_str(), fail))
}

/// Who is asked why a step fails whose retries are used up: the first agent on its escalation path. Nobody
/// where trying again cannot help, and nobody twice.
pub(super) fn doctor(
    situation: &Situation<'_>,
    outstanding: &Outstanding<'_>,
    fail: &FailStep,
) -> Option<AgentName> {
    let RetryLimits { max_retries, tier } = limits(situation, outstanding);
    let worth_it = matches!(outstanding.work, OutstandingWork::Agent(_))
        && tier >= DIAGNOSIS_TIER
        && fail.retriable
        && max_retries > 0
        && fail.attempt == max_retries + 1
        && !NOT_EXECUTED.contains(&fail.error_type.as_str());
    let entry = situation.template.error_handling_of(outstanding.around()).filter(|_| worth_it)?;
    let path = entry.escalation_path.iter().filter(|who| *who != PEOPLE);
    path.filter_map(|who| AgentName::parse(who).ok()).next()
}

/// The step is tried once more, with what was found.
pub(super) fn found(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    answer: Map<String, Value>,
) -> Vec<NewEvent> {
    let step = outstanding.around();
    let Some((attempt, fail)) = symptoms(state, step) else { return Vec::new() };
    if Value::Object(answer.clone()).to_string().len() > MAX_DIAGNOSIS_BYTES {
        let error = format!("the diagnosis is larger than {MAX_DIAGNOSIS_BYTES} bytes");
        let noted =
            FailStep { error, error_type: "bad_output".to_owned(), attempt, ..FailStep::default() };
        let noted = NewEvent::of(&outstanding.path, EventBody::FailStep(noted));
        return std::iter::once(noted).chain(undiagnosed(situation, state, outstanding)).collect();
    }
    let alike = lesson::recovery(situation, "", &fail);
    // What was remembered when it failed so before.
    let before = state.active.get(step).and_then(|position| position.recovery.clone());
    let known = before.filter(|before| before.signature == alike.signature).unwrap_or(alike);
    let recovery = Recovery { tier: DIAGNOSIS_TIER, diagnosis: Some(answer), ..known };
    let retry = RetryStep {
        retry_attempt: attempt,
        max_retries: attempt,
        backoff_delay: backoff::seconds(0),
        next_retry_at: situation.now,
        recovery: Some(recovery),
        command: None,
    };
    vec![NewEvent::of(step, EventBody::RetryStep(retry))]
}

/// Nobody knows why: the failure takes effect.
pub(super) fn undiagnosed(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
) -> Option<NewEvent> {
    let step = outstanding.around();
    let (_, fail) = symptoms(state, step)?;
    Some(for_good(situation, state, step, FailStep { exhausted: true, ..fail }))
}

/// The failure that is being looked into, and the execution that had it.
fn symptoms(state: &State, step: &str) -> Option<(u32, FailStep)> {
    let position = state.active.get(step)?;
    let Phase::Diagnosing { error, error_type, .. } = &position.phase else { return None };
    let fail = FailStep {
        error: error.clone(),
        error_type: error_type.clone(),
        retriable: true,
        attempt: position.attempt,
        ..FailStep::default()
    };
    Some((position.attempt, fail))
}
