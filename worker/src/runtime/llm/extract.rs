//! The JSON object in what a model says.

use serde_json::{Deserializer, Map, Value};

/// Braces tried as the beginning of an object.
const MAX_CANDIDATES: usize = 1_000;

/// The first complete JSON object in `text`: bare, in a fence, or between sentences. None when there is
/// none, and none when the answer is a list: which of its objects counts would be a guess.
pub(super) fn object(text: &str) -> Option<Map<String, Value>> {
    let text = after_thoughts(text);
    let first = text.find('{')?;
    let is_list_of_objects = |at: usize| match value_at(text, at) {
        Some(Value::Array(items)) => items.iter().any(Value::is_object),
        _ => false,
    };
    if text[..first].match_indices('[').take(MAX_CANDIDATES).any(|(at, _)| is_list_of_objects(at)) {
        return None;
    }
    text.match_indices('{').take(MAX_CANDIDATES).find_map(|(at, _)| match value_at(text, at)? {
        Value::Object(object) => Some(object),
        _ => None,
    })
}

/// A real parser finds the end: braces in strings, escapes and nesting are its business.
fn value_at(text: &str, at: usize) -> Option<Value> {
    Deserializer::from_str(&text[at..]).into_iter::<Value>().next()?.ok()
}

/// What some models think aloud before they answer is not the answer.
fn after_thoughts(text: &str) -> &str {
    match text.trim_start().strip_prefix("<think>") {
        Some(thoughts) => thoughts.split_once("</think>").map_or("", |(_, answer)| answer),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_the_object() {
        let cases = [
            (r#"{"a":1}"#, json!({"a": 1})),
            (
                "Sure!\n```json\n{\"a\": {\"b\": [1, {\"c\": 2}]}}\n```\nDone.",
                json!({"a": {"b": [1, {"c": 2}]}}),
            ),
            (r#"The set {x} is not it, {"a":"}{\"}"} is."#, json!({"a": "}{\"}"})),
            (r#"{"a":1} and {"a":2}"#, json!({"a": 1})),
            (r#"see [1] first: {"a":[]}"#, json!({"a": []})),
            (r#"[note] {"a":1}"#, json!({"a": 1})),
            (r#"<think>maybe {"a":1}</think>{"a":2}"#, json!({"a": 2})),
            ("{\"a\":\"\u{1F600}\"}", json!({"a": "\u{1F600}"})),
        ];
        for (text, expected) in cases {
            assert_eq!(object(text).map(Value::Object), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_object() {
        let cases = [
            "",
            "proceed",
            "{",
            r#"{"a":"#,
            r#"{"a":1"#,
            r#"[{"decision":"proceed"},{"decision":"block"}]"#,
            "<think>{}",
            "{a: 1}",
        ];
        for text in cases {
            assert_eq!(object(text), None, "{text}");
        }
        assert_eq!(object(&"{".repeat(200_000)), None);
    }
}
