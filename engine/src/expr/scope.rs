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
    /// The branches that the expression is in, from the innermost outwards.
    pub within: Vec<Branch<'a>>,
    /// Further roots, such as the item of a loop. They cannot hide the three above.
    pub extra: Vec<(&'a str, &'a Value)>,
}

/// A branch, and the steps in it.
#[derive(Clone, Debug)]
pub struct Branch<'a> {
    /// Where its steps' outputs are: before the ids of its steps.
    pub path: &'a str,
    /// Their ids.
    pub steps: Vec<&'a str>,
}

impl<'a> Scope<'a> {
    /// The value at a path; none when any part of the path is missing.
    pub(crate) fn lookup(&self, path: &Path) -> Option<Cow<'a, Value>> {
        let (start, rest) = match path.root.as_str() {
            "context" => (self.context, path.segments.as_slice()),
            "workflow" => (self.workflow, path.segments.as_slice()),
            "outputs" => match path.segments.split_first() {
                None => return Some(Cow::Owned(self.all_outputs())),
                Some((step, rest)) => (self.output(step)?, rest),
            },
            name => {
                let (_, value) = self.extra.iter().find(|(root, _)| *root == name)?;
                (*value, path.segments.as_slice())
            }
        };
        rest.iter().try_fold(start, |value, segment| child(value, segment)).map(Cow::Borrowed)
    }

    /// What a step left: in a branch its own steps go before those around it, also when they have left
    /// nothing yet.
    fn output(&self, step: &str) -> Option<&'a Value> {
        match self.within.iter().find(|branch| branch.steps.contains(&step)) {
            Some(branch) => self.outputs.get(&format!("{}.{step}", branch.path)),
            None => self.outputs.get(step),
        }
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
