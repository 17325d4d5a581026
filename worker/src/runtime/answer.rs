//! What an agent's answer must look like: one JSON object, bare or in an envelope.

use serde_json::{Map, Value};
use sluice_proto::message::{AgentError, Usage};

use super::{Outcome, failure};

/// Insights of one answer that are kept.
const MAX_INSIGHTS: usize = 100;

/// Reads the answer of an agent.
pub(super) fn read(bytes: &[u8]) -> Outcome {
    match object(bytes) {
        Ok(object) => unwrap(object),
        Err(error) => error.into(),
    }
}

/// An answer of the wrong shape comes again when it is asked for again.
pub(super) fn bad_output(message: impl Into<String>) -> AgentError {
    failure("bad_output", false, message)
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, AgentError> {
    if bytes.trim_ascii().is_empty() {
        return Err(bad_output("the answer is empty; expected one JSON object"));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => {
            Err(bad_output(format!("the answer is {}; expected one JSON object", kind(&other))))
        }
        Err(error) => Err(bad_output(format!("the answer is no JSON object: {error}"))),
    }
}

/// `{"output", "insights", "usage"}` is an envelope; an object with any other key is the output itself.
fn unwrap(mut object: Map<String, Value>) -> Outcome {
    let is_envelope = object.get("output").is_some_and(Value::is_object)
        && object.keys().all(|key| matches!(key.as_str(), "output" | "insights" | "usage"));
    if !is_envelope {
        return Outcome::output(object);
    }
    let insights = match object.remove("insights") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(insights)) => insights.into_iter().take(MAX_INSIGHTS).collect(),
        Some(_) => return bad_output("'insights' of the answer is no list").into(),
    };
    let usage = match object.remove("usage").map(serde_json::from_value::<Option<Usage>>) {
        None => None,
        Some(Ok(usage)) => usage,
        Some(Err(error)) => return bad_output(format!("'usage' of the answer: {error}")).into(),
    };
    match object.remove("output") {
        Some(Value::Object(output)) => Outcome { result: Ok(output), insights, usage },
        _ => bad_output("the answer has no output").into(),
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_envelope_is_told_from_an_output() {
        let outcome = read(br#"{"output":{"a":1},"insights":["x"],"usage":{"cost_usd":0.5}}"#);
        assert_eq!(Value::Object(outcome.result.unwrap()), json!({"a": 1}));
        assert_eq!((outcome.insights.len(), outcome.usage.unwrap().cost_usd), (1, Some(0.5)));
        for bare in [json!({"output": "text"}), json!({"output": {}, "more": 1}), json!({})] {
            let outcome = read(bare.to_string().as_bytes());
            assert_eq!(Value::Object(outcome.result.unwrap()), bare);
        }
    }

    #[test]
    fn everything_else_is_bad_output() {
        let cases: [&[u8]; 10] = [
            b"",
            b" \n",
            b"done",
            b"<html></html>",
            b"{\"a\":",
            b"[1]",
            b"{}{}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"output\":{},\"insights\":1}",
            b"\x00\x01",
        ];
        for bytes in cases {
            let error = read(bytes).result.unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.retryable),
                ("bad_output", Some(false)),
                "{bytes:?}"
            );
        }
    }
}
