//! A tree of values in which every text may hold `{{ }}`.

use indexmap::IndexMap;
use serde_json::Value;

use super::text::value_of;
use super::{MAX_RENDERED_BYTES, Missing, Scope, Text};

/// A payload with its expressions parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// A value without expressions.
    Literal(Value),
    /// Text with expressions. If it is one expression and nothing else, the value keeps its type.
    Text(Text),
    /// A list, rendered item by item.
    List(Vec<Self>),
    /// A mapping, rendered value by value; keys are taken as they are.
    Map(IndexMap<String, Self>),
}

/// What became of a payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The payload with every expression filled in; null where one failed.
    pub value: Value,
    /// The expressions that failed, and why.
    pub problems: Vec<String>,
}

impl Payload {
    /// Parses every text in `value`. One that cannot be parsed is kept as it is; templates are
    /// loaded through a stricter door that refuses it.
    #[must_use]
    pub fn compile(value: Value) -> Self {
        match value {
            Value::String(text) => Self::text(Text::parse(&text).unwrap_or(Text::literal(&text))),
            Value::Array(items) => Self::List(items.into_iter().map(Self::compile).collect()),
            Value::Object(map) => {
                Self::Map(map.into_iter().map(|(key, value)| (key, Self::compile(value))).collect())
            }
            other => Self::Literal(other),
        }
    }

    /// A text, as a plain value if there is nothing in it to render.
    pub(crate) fn text(text: Text) -> Self {
        if text.has_expressions() {
            Self::Text(text)
        } else {
            Self::Literal(Value::String(text.source().to_owned()))
        }
    }

    /// Fills in the values, once: braces inside a value are left alone. Never fails as a whole; what
    /// cannot be evaluated is null and named in the problems.
    #[must_use]
    pub fn render(&self, scope: &Scope<'_>) -> Rendered {
        let mut budget = Budget { left: MAX_RENDERED_BYTES, problems: Vec::new() };
        let value = self.render_within(scope, &mut budget);
        Rendered { value, problems: budget.problems }
    }

    fn render_within(&self, scope: &Scope<'_>, budget: &mut Budget) -> Value {
        match self {
            Self::Literal(value) => budget.spend(value.clone()),
            Self::Text(text) => {
                let value = match text.sole_expression() {
                    Some(expr) => value_of(expr, scope, &mut budget.problems)
                        .map_or(Value::Null, |value| value.into_owned()),
                    None => {
                        Value::String(text.render_into(scope, Missing::Empty, &mut budget.problems))
                    }
                };
                budget.spend(value)
            }
            Self::List(items) => {
                items.iter().map(|item| item.render_within(scope, budget)).collect()
            }
            Self::Map(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), value.render_within(scope, budget)))
                .collect(),
        }
    }

    /// The payload as written.
    #[must_use]
    pub fn source(&self) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Text(text) => Value::String(text.source().to_owned()),
            Self::List(items) => items.iter().map(Self::source).collect(),
            Self::Map(map) => {
                map.iter().map(|(key, value)| (key.clone(), value.source())).collect()
            }
        }
    }

    /// The value under a top-level key, if it does not depend on the run.
    #[must_use]
    pub fn constant(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(map) => match map.get(key)? {
                Self::Literal(value) => Some(value),
                _ => None,
            },
            Self::Literal(Value::Object(map)) => map.get(key),
            _ => None,
        }
    }
}

/// Keeps a small template from rendering a large output a thousand times over.
struct Budget {
    left: usize,
    problems: Vec<String>,
}

impl Budget {
    fn spend(&mut self, value: Value) -> Value {
        let weight = weight(&value);
        if weight > self.left {
            let message = format!("payload cut: more than {MAX_RENDERED_BYTES} bytes");
            if self.problems.last() != Some(&message) {
                self.problems.push(message);
            }
            return Value::Null;
        }
        self.left -= weight;
        value
    }
}

/// About as many bytes as the value takes as JSON.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            map.iter().map(|(key, value)| key.len() + weight(value) + 4).sum::<usize>() + 2
        }
        _ => 8,
    }
}
