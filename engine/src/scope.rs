//! What the expressions of a run can read.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::expr::{Branch, Scope};
use crate::path::{branches_around, fan_of};
use crate::state::State;
use crate::template::Template;

/// The roots `context`, `outputs` and `workflow` of one run; in a branch also those of the branch.
#[derive(Clone, Debug)]
pub(crate) struct RunScope<'a> {
    context: &'a Value,
    outputs: Cow<'a, IndexMap<String, Value>>,
    workflow: Value,
    within: Vec<Branch<'a>>,
    /// `item` and `index` of the innermost `for_each`.
    item: Option<(Cow<'a, Value>, Value)>,
}

impl<'a> RunScope<'a> {
    /// The run as it stands, outside of all branches.
    pub(crate) fn new(state: &'a State) -> Self {
        // Messages about the end of a run say how it ends.
        let status = state.ending.as_ref().map_or(state.status, |ending| state.status_at(ending));
        let workflow = json!({
            "id": state.workflow_id,
            "name": state.template_name,
            "status": status,
            "failed_step": state.failed_step,
            "error_message": state.error_message,
            "failure_reason": state.failure_reason,
            "rejection_reason": state.rejection_reason,
        });
        Self {
            context: &state.context,
            outputs: Cow::Borrowed(&state.outputs),
            workflow,
            within: Vec::new(),
            item: None,
        }
    }

    /// The run as the step at `path` sees it.
    pub(crate) fn at(template: &'a Template, state: &'a State, path: &'a str) -> Self {
        let within = branches_around(path).map(|branch| {
            let block = fan_of(branch).and_then(|(fan, name)| template.step(fan)?.block(name));
            let steps = block.into_iter().flatten().map(|(id, _)| id.as_str()).collect();
            Branch { path: branch, steps }
        });
        let item = branches_around(path).find_map(|branch| {
            let (fan, index) = fan_of(branch)?;
            let items = state.fans.get(fan)?.items.as_ref()?;
            let index = index.parse::<usize>().ok()?;
            Some((Cow::Borrowed(items.get(index)?), json!(index)))
        });
        Self { within: within.collect(), item, ..Self::new(state) }
    }

    /// The run as it will stand once the step at `path` has left `result`.
    pub(crate) fn answered(mut self, path: &str, result: &Map<String, Value>) -> Self {
        self.outputs.to_mut().insert(path.to_owned(), Value::Object(result.clone()));
        self
    }

    /// As the steps for an item see it that has not begun.
    pub(crate) fn of_item(mut self, item: &'a Value, index: usize) -> Self {
        self.item = Some((Cow::Borrowed(item), json!(index)));
        self
    }

    /// Hands the roots to the evaluator.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Scope<'_>) -> T) -> T {
        let extra = match &self.item {
            Some((item, index)) => vec![("item", item.as_ref()), ("index", index)],
            None => Vec::new(),
        };
        read(&Scope {
            context: self.context,
            outputs: &self.outputs,
            workflow: &self.workflow,
            within: self.within.clone(),
            extra,
        })
    }
}
