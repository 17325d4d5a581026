//! Single values: texts with references, payloads, durations.

use serde_json::{Map, Value};

use crate::expr::{Payload, Text};
use crate::yaml::{Kind, Node};

use super::context::{Context, scalar_text};

/// Most errors reported for one text.
const MAX_ERRORS_IN_TEXT: usize = 20;

pub(super) fn payload(cx: &mut Context<'_>, node: &Node) -> Option<Payload> {
    match &node.kind {
        Kind::List(items) => {
            let items: Vec<_> = items.iter().map(|item| payload(cx, item)).collect();
            items.into_iter().collect::<Option<_>>().map(Payload::List)
        }
        Kind::Map(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, entry)| payload(cx, &entry.node).map(|value| (key.clone(), value)))
                .collect();
            entries.into_iter().collect::<Option<_>>().map(Payload::Map)
        }
        Kind::Scalar(scalar) => match scalar.resolve() {
            Ok(Value::String(_)) => parse_text(cx, node).map(Payload::text),
            Ok(value) => Some(Payload::Literal(value)),
            Err(message) => {
                cx.findings.error(node.at, message);
                None
            }
        },
    }
}

pub(super) fn parse_text(cx: &mut Context<'_>, node: &Node) -> Option<Text> {
    let value = scalar_text(node)?;
    let locator = cx.locator(node, value);
    if let Some(offset) = value.find("{%") {
        let at = cx.position(locator.locate(offset));
        cx.findings.warning(at, "'{%' blocks are not part of the language and stay in the text");
    }
    match Text::parse_all(value) {
        Ok(text) => {
            text.visit_paths(&mut |path, offset| cx.refer(path, locator.locate(offset), false));
            Some(text)
        }
        Err(errors) => {
            for error in errors.into_iter().take(MAX_ERRORS_IN_TEXT) {
                let at = cx.position(locator.locate(error.offset));
                cx.findings.error(at, error.message);
            }
            None
        }
    }
}

pub(super) fn text_of(node: &Node) -> Option<&str> {
    match scalar_value(node) {
        Some(Value::String(_)) => scalar_text(node),
        _ => None,
    }
}

pub(super) fn scalar_value(node: &Node) -> Option<Value> {
    match &node.kind {
        Kind::Scalar(scalar) => scalar.resolve().ok(),
        _ => None,
    }
}

/// `90s`, `1.5h`: milliseconds.
pub(super) fn duration(text: &str) -> Option<f64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit.trim() {
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * unit_ms)
}

/// An object of constants, for checks on what an author wrote out.
pub(super) fn constants(payload: &Payload) -> Option<Map<String, Value>> {
    let Payload::Map(entries) = payload else { return None };
    let constant = |value: &Payload| match value {
        Payload::Literal(value) => Some(value.clone()),
        _ => None,
    };
    entries.iter().map(|(key, value)| Some((key.clone(), constant(value)?))).collect()
}
