//! What an agent found besides its answer.

use serde_json::Value;
use sluice_proto::event::{CaptureInsight, EventBody};

use super::Outstanding;
use crate::event::NewEvent;
use crate::state::State;

/// Findings taken from one result.
pub(super) const MAX_INSIGHTS: usize = 20;
/// Characters kept of one finding.
const MAX_INSIGHT_CHARS: usize = 500;

pub(super) fn capture(
    state: &State,
    outstanding: &Outstanding<'_>,
    index: usize,
    insight: &Value,
) -> Option<NewEvent> {
    let (content, kind, confidence) = match insight {
        Value::String(text) => (text.as_str(), None, None),
        Value::Object(fields) => (
            fields.get("content").or_else(|| fields.get("text"))?.as_str()?,
            fields.get("insight_type").or_else(|| fields.get("type")).and_then(Value::as_str),
            fields.get("confidence").and_then(Value::as_f64),
        ),
        _ => return None,
    };
    let step = outstanding.step();
    let body = CaptureInsight {
        insight_id: format!("{}-{}", state.sequence + 1, index + 1),
        agent_id: outstanding.agent.to_string(),
        insight_type: kind.unwrap_or("general").chars().take(64).collect(),
        content: content.chars().take(MAX_INSIGHT_CHARS).collect(),
        confidence: confidence.filter(|share| (0.0..=1.0).contains(share)).unwrap_or(0.8),
        source_step: step.to_owned(),
    };
    Some(NewEvent::of(step, EventBody::CaptureInsight(body)))
}
