//! What the expressions of a run can read.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::expr::Scope;
use crate::state::State;

/// The roots `context`, `outputs` and `workflow` of one run.
#[derive(Clone, Debug)]
pub(crate) struct RunScope<'a> {
    context: &'a Value,
    outputs: Cow<'a, IndexMap<String, Value>>,
    workflow: Value,
}

impl<'a> RunScope<'a> {
    /// The run as it stands.
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
        Self { context: &state.context, outputs: Cow::Borrowed(&state.outputs), workflow }
    }

    /// The run as it will stand once `step` has left `result`.
    pub(crate) fn answered(mut self, step: &str, result: &Map<String, Value>) -> Self {
        self.outputs.to_mut().insert(step.to_owned(), Value::Object(result.clone()));
        self
    }

    /// Hands the roots to the evaluator.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Scope<'_>) -> T) -> T {
        read(&Scope {
            context: self.context,
            outputs: &self.outputs,
            workflow: &self.workflow,
            extra: Vec::new(),
        })
    }
}
