//! An agent that is a model: its prompt file and the step's payload in, one JSON object out.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sluice_proto::message::{AgentError, Command, Usage};

use super::chat::Question;
use super::extract;
use super::models::Models;
use crate::agents::Schema;
use crate::runtime::answer::bad_output;
use crate::runtime::{Job, Outcome, Runtime};

/// Violations of the schema that are reported.
const MAX_VIOLATIONS: usize = 3;
const MAX_VIOLATION_CHARS: usize = 200;

pub(crate) struct LlmRuntime {
    models: Arc<Models>,
    system: String,
    schema: Option<Schema>,
    model: Option<String>,
    provider: Option<String>,
}

impl LlmRuntime {
    pub(crate) fn new(
        models: &Arc<Models>,
        prompt: &str,
        schema: Option<&Schema>,
        model: Option<&str>,
        provider: Option<&str>,
    ) -> Self {
        Self {
            models: Arc::clone(models),
            system: system(prompt, schema),
            schema: schema.cloned(),
            model: model.map(str::to_owned),
            provider: provider.map(str::to_owned),
        }
    }

    async fn call(&self, job: &Job) -> Result<Outcome, AgentError> {
        let endpoint = self.models.endpoint(self.provider.as_deref(), self.model.as_deref())?;
        let user = user(&job.command);
        let schema = self
            .schema
            .as_ref()
            .map(|schema| (job.command.agent.as_str(), schema.document.as_ref()));
        let question = Question { system: &self.system, user: &user, schema };
        let reply = self.models.ask(&endpoint, &question, job.max_output).await?;
        Ok(self.judge(&reply.text, reply.usage))
    }

    fn judge(&self, text: &str, usage: Usage) -> Outcome {
        let result = match extract::object(text) {
            None => Err(bad_output("the model's answer holds no JSON object")),
            Some(object) => match self.violations(Value::Object(object)) {
                Ok(Value::Object(output)) => Ok(output),
                Ok(_) => Err(bad_output("the model's answer is no JSON object")),
                Err(error) => Err(error),
            },
        };
        Outcome { result, insights: Vec::new(), usage: Some(usage) }
    }

    fn violations(&self, output: Value) -> Result<Value, AgentError> {
        let Some(schema) = &self.schema else { return Ok(output) };
        let shown = |error: jsonschema::ValidationError<'_>| {
            let text = format!("{}: {}", error.instance_path(), error.masked());
            text.chars().take(MAX_VIOLATION_CHARS).collect::<String>()
        };
        let violations: Vec<String> =
            schema.validator.iter_errors(&output).take(MAX_VIOLATIONS).map(shown).collect();
        if violations.is_empty() {
            return Ok(output);
        }
        Err(bad_output(format!(
            "the model's answer breaks the output schema: {}",
            violations.join("; ")
        )))
    }
}

impl Runtime for LlmRuntime {
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Outcome> {
        async move { self.call(&job).await.unwrap_or_else(Outcome::from) }.boxed()
    }
}

/// The schema is said in words too: not every server takes one.
fn system(prompt: &str, schema: Option<&Schema>) -> String {
    let rule = "Answer with exactly one JSON object and nothing else.";
    match schema {
        Some(schema) => {
            format!("{prompt}\n\n{rule} It must satisfy this JSON Schema:\n{}", schema.document)
        }
        None => format!("{prompt}\n\n{rule}"),
    }
}

fn user(command: &Command) -> String {
    let mut task = json!({ "step": command.step_id, "task": command.payload });
    if !command.insights.is_empty() {
        task["insights"] = Value::Array(command.insights.clone());
    }
    task.to_string()
}
