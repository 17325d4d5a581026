//! What the names in an expression stand for.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::Value;

use super::Path;

/// The values that an expression can read.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// `context.*`: what the caller started the run with.
    pub context: &'a Value,
    /// `outputs.<step>.*`: what each step left behind.
    pub outputs: &'a IndexMap<String, Value>,
    /// `workflow.*`: facts about the run.
    pub workflow: &'a Value,
    /// Further roots, such as the item of a loop. They cannot hide the three above.
    pub extra: Vec<(&'a str, &'a Value)>,
}

impl<'a> Scope<'a> {
    /// The value at a path; none when any part of the path is missing.
    pub(crate) fn lookup(&self, path: &Path) -> Option<Cow<'a, Value>> {
        let (start, rest) = match path.root.as_str() {
            "context" => (self.context, path.segments.as_slice()),
            "workflow" => (self.workflow, path.segments.as_slice()),
            "outputs" => match path.segments.split_first() {
                None => return Some(Cow::Owned(self.all_outputs())),
                Some((step, rest)) => (self.outputs.get(step)?, rest),
            },
            name => {
                let (_, value) = self.extra.iter().find(|(root, _)| *root == name)?;
                (*value, path.segments.as_slice())
            }
        };
        rest.iter().try_fold(start, |value, segment| child(value, segment)).map(Cow::Borrowed)
    }

    fn all_outputs(&self) -> Value {
        self.outputs.iter().map(|(step, output)| (step.clone(), output.clone())).collect()
    }
}

fn child<'a>(value: &'a Value, segment: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(segment),
        Value::Array(list) => list.get(segment.parse::<usize>().ok()?),
        _ => None,
    }
}
