//! An agent or a model has answered.

use serde_json::{Map, Value, json};
use sluice_proto::event::{CompleteStep, EventBody, RecordOutput};
use sluice_proto::message::AgentError;

use super::failure::fail_or_retry;
use super::{Done, Outstanding};
use crate::decide::Situation;
use crate::event::NewEvent;
use crate::plan::diversion;
use crate::route;
use crate::scope::RunScope;
use crate::state::{Phase, State};
use crate::template::{AgentCall, Gate, LlmGate};

pub(super) fn agent_answered(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    call: &AgentCall,
    result: Map<String, Value>,
    done: Done,
) -> Vec<NewEvent> {
    let (template, path) = (situation.template, outstanding.step());
    let scope = RunScope::at(template, state, path).answered(path, &result);
    let complete = CompleteStep {
        attempt: Some(done.attempt),
        duration_ms: Some(done.duration_ms),
        usage: done.usage.clone(),
        rolled_back: call.is_rollback,
        ..CompleteStep::default()
    };
    match &call.gate {
        None => {
            let next = route::to(template, &scope, path, call.on_success.as_ref());
            vec![completed(path, CompleteStep { result, next, ..complete })]
        }
        Some(Gate::Deterministic(branch)) => {
            let check = scope.with(|roots| branch.condition.check(roots));
            let target = if check.holds { &branch.on_true } else { &branch.on_false };
            let next = route::to(template, &scope, path, Some(target));
            let why = || match &check.reason {
                Some(reason) => format!("'{}' does not hold: {reason}", branch.condition.source()),
                None => format!("'{}' is {}", branch.condition.source(), check.holds),
            };
            let failure_reason = diversion(template, &next, why);
            vec![completed(
                path,
                CompleteStep {
                    result,
                    next,
                    decision: Some(check.holds.to_string()),
                    decided_by: Some("condition".to_owned()),
                    failure_reason,
                    problems: check.reason.into_iter().chain(check.warning).collect(),
                    ..complete
                },
            )]
        }
        Some(Gate::Llm(gate)) => match route::by_rules(&gate.rules, &scope) {
            (Some(answer), problems) => {
                let complete = CompleteStep { problems, ..complete };
                routed(situation, state, outstanding, gate, answer, result, "rules", complete)
            }
            (None, _) => {
                let body = RecordOutput {
                    result,
                    attempt: done.attempt,
                    duration_ms: done.duration_ms,
                    usage: done.usage,
                };
                vec![NewEvent::of(path, EventBody::RecordOutput(body))]
            }
        },
    }
}

pub(super) fn gate_answered(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    gate: &LlmGate,
    answer: Map<String, Value>,
) -> Vec<NewEvent> {
    let path = outstanding.step();
    let position = state.active.get(path).map(|position| &position.phase);
    let Some(Phase::Gate { result, agent_attempt, duration_ms, usage }) = position else {
        return Vec::new();
    };
    let is_rollback = route::is_rollback(situation.template, path);
    let complete = CompleteStep {
        attempt: Some(*agent_attempt),
        duration_ms: Some(*duration_ms),
        usage: usage.clone(),
        rolled_back: is_rollback,
        ..CompleteStep::default()
    };
    routed(situation, state, outstanding, gate, answer, result.clone(), "model", complete)
}

/// Follows a gate's answer, or fails the step: an answer without a route never means proceed.
#[expect(clippy::too_many_arguments, reason = "one story told from two places")]
fn routed(
    situation: &Situation<'_>,
    state: &State,
    outstanding: &Outstanding<'_>,
    gate: &LlmGate,
    answer: Map<String, Value>,
    result: Map<String, Value>,
    decided_by: &str,
    complete: CompleteStep,
) -> Vec<NewEvent> {
    let (template, path) = (situation.template, outstanding.step());
    let routed = match route::by_answer(gate, &answer) {
        Ok(routed) => routed,
        Err(message) => {
            let error = AgentError {
                code: "gate_error".to_owned(),
                message,
                retryable: Some(false),
                retry_after_ms: None,
            };
            return fail_or_retry(situation, state, outstanding, &error);
        }
    };
    let result = merge(result, &answer, &routed);
    let scope = RunScope::at(template, state, path).answered(path, &result);
    let next = route::to(template, &scope, path, Some(routed.target));
    let failure_reason = diversion(template, &next, || {
        let reasoning = ["reasoning", "reason"].iter().find_map(|key| answer.get(*key)?.as_str());
        let decision = &routed.decision;
        reasoning.map_or_else(|| format!("the gate decided '{decision}'"), str::to_owned)
    });
    vec![completed(
        path,
        CompleteStep {
            result,
            next,
            decision: Some(routed.decision),
            decided_by: Some(decided_by.to_owned()),
            answer: Some(answer),
            failure_reason,
            ..complete
        },
    )]
}

/// The key the route was chosen by comes from the gate, whatever the agent called so; of the rest,
/// only what the agent did not say. A word is kept as it was compared: conditions of later steps read
/// it, and must not see another answer than the gate did.
fn merge(
    mut result: Map<String, Value>,
    answer: &Map<String, Value>,
    routed: &route::Routed<'_>,
) -> Map<String, Value> {
    for (key, value) in answer {
        if *key == routed.key {
            let word = value.is_string().then(|| json!(routed.decision));
            result.insert(key.clone(), word.unwrap_or_else(|| value.clone()));
        } else if !result.contains_key(key) {
            result.insert(key.clone(), value.clone());
        }
    }
    result
}

pub(super) fn completed(path: &str, complete: CompleteStep) -> NewEvent {
    NewEvent::of(path, EventBody::CompleteStep(complete))
}
