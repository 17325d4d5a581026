//! What agents, models and channels answer.

use serde_json::{Map, Value, json};
use sluice_engine::Report;
use sluice_engine::template::{AgentCall, Gate, StepKind, Template};
use sluice_proto::message::{AgentError, CommandKind};

use super::rng::Rng;

/// The answer of whoever is asked.
pub(crate) fn answer(rng: &mut Rng, template: &Template, kind: CommandKind, step: &str) -> Report {
    let outcome = if rng.chance(0.15) {
        Err(failure(rng))
    } else {
        match kind {
            CommandKind::AgentCall | CommandKind::Compensate | CommandKind::Diagnose => {
                Ok(output(rng))
            }
            CommandKind::Gate => Ok(gate(rng, template, step)),
            CommandKind::RiskAssessment => Ok(risk(rng)),
            CommandKind::ApprovalRequest | CommandKind::Notification => Ok(Map::new()),
        }
    };
    let insights = if rng.chance(0.1) { vec![json!("a finding"), json!(7)] } else { Vec::new() };
    Report { outcome, duration_ms: rng.between(1, 5_000), usage: None, insights }
}

/// The report of a worker that stopped its agent.
pub(crate) fn timed_out() -> Report {
    let error = AgentError {
        code: "timeout".to_owned(),
        message: "the agent ran longer than allowed".to_owned(),
        retryable: Some(true),
        retry_after_ms: None,
    };
    Report { outcome: Err(error), duration_ms: 60_000, usage: None, insights: Vec::new() }
}

fn failure(rng: &mut Rng) -> AgentError {
    AgentError {
        code: (*rng.pick(&["http_503", "bad_output", ""])).to_owned(),
        message: "no luck".to_owned(),
        retryable: *rng.pick(&[Some(true), Some(true), Some(false), None]),
        retry_after_ms: rng.chance(0.1).then_some(7_000),
    }
}

fn output(rng: &mut Rng) -> Map<String, Value> {
    let total = rng.between(0, 20);
    let passed = total - rng.between(0, total.min(3));
    let mut output = Map::from_iter([
        ("score".to_owned(), json!(rng.between(0, 100))),
        ("passed".to_owned(), json!(passed)),
    ]);
    // What a condition needs is now and then not there, or of another kind.
    if rng.chance(0.9) {
        output.insert("total".to_owned(), json!(total));
    }
    if rng.chance(0.05) {
        output.insert("score".to_owned(), json!("high"));
    }
    output
}

fn gate(rng: &mut Rng, template: &Template, step: &str) -> Map<String, Value> {
    let routes: Vec<&String> = match template.step(step).map(|step| &step.kind) {
        Some(StepKind::AgentCall(AgentCall { gate: Some(Gate::Llm(gate)), .. })) => {
            gate.routes.keys().collect()
        }
        _ => Vec::new(),
    };
    let (Some(first), Some(last)) = (routes.first(), routes.last()) else { return Map::new() };
    let route = if rng.chance(0.6) { first } else { *rng.pick(&routes) };
    let fields = match rng.below(12) {
        0 => json!({"decision": "perhaps", "reasoning": "hm"}),
        1 => json!({"thoughts": ["none"], "nested": {"decision": first}}),
        2 => json!({"one": first, "two": last}),
        3 => json!({"verdict": format!(" {} ", route.to_uppercase())}),
        4 => json!({"decision": "perhaps", "path": route}),
        _ => json!({"decision": route, "risk_level": "low", "reasoning": "because"}),
    };
    fields.as_object().cloned().unwrap_or_default()
}

fn risk(rng: &mut Rng) -> Map<String, Value> {
    let level = *rng.pick(&["low", "low", "LOW ", "medium", "high", "critical", "banana", ""]);
    let roles = [json!("none"), json!(null), json!("tech_lead"), json!("chief"), json!(7)];
    let mut fields = Map::from_iter([("approver_role".to_owned(), rng.pick(&roles).clone())]);
    if rng.chance(0.9) {
        fields.insert("risk_level".to_owned(), json!(level));
    }
    fields
}
