//! Reads YAML into a tree that remembers where everything stands in the file.
//!
//! Values of plain scalars are resolved as YAML 1.1 does in PyYAML, because that is what templates
//! have been written against: `on` is true, `010` is eight, `1e3` is text.

mod compose;
mod scalar;

use std::ops::Range;

use indexmap::IndexMap;
use serde_json::Value;

use crate::template::Position;

pub(crate) use compose::compose;

/// Largest file, bytes.
pub(crate) const MAX_BYTES: usize = 256 * 1024;
/// Deepest nesting, aliases followed.
pub(crate) const MAX_DEPTH: usize = 64;
/// Most nodes, aliases followed.
pub(crate) const MAX_NODES: usize = 50_000;
/// Most bytes of text, aliases followed.
pub(crate) const MAX_TEXT_BYTES: usize = 4 * MAX_BYTES;

/// One node of the tree. The target of an alias keeps its own place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    /// Bytes of the file it was read from.
    pub(crate) source: Range<usize>,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

/// A mapping by the source text of its keys: the key `on` is "on", whatever YAML takes it for.
pub(crate) type Map = IndexMap<String, Entry>;

/// A value and where its key stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key_at: Position,
    pub(crate) node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Neither quoted nor a block, so that it may stand for something other than text.
    pub(crate) plain: bool,
}

/// Something wrong with the file as YAML.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub(crate) at: Position,
    pub(crate) message: String,
    /// The tree can be used nevertheless.
    pub(crate) harmless: bool,
}

impl Scalar {
    /// The value it stands for, or why JSON has no such value.
    pub(crate) fn resolve(&self) -> Result<Value, String> {
        if self.plain { scalar::resolve(&self.text) } else { Ok(Value::String(self.text.clone())) }
    }
}

impl Node {
    /// What it is, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
            Kind::Scalar(scalar) => match scalar.resolve() {
                Ok(Value::Null) => "nothing",
                Ok(Value::Bool(_)) => "true or false",
                Ok(Value::Number(_)) | Err(_) => "a number",
                Ok(_) => "text",
            },
        }
    }

    /// True for `~`, `null` and a value left out.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.resolve() == Ok(Value::Null))
    }
}

#[cfg(test)]
mod tests;
