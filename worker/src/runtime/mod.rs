//! Ways to run an agent. A new one is a new file and a line in [`build`].

mod answer;
pub(crate) mod classify;
mod command;
mod external;
mod function;
pub(crate) mod http;
mod llm;
mod notify;
mod progress;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::test_command;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use sluice_proto::message::{AgentError, Command, Usage};
use tokio_util::sync::CancellationToken;

use crate::agents::{Agent, RuntimeSettings};

pub use function::Function;
pub use llm::LlmSettings;
pub(crate) use llm::{LlmRuntime, Models, QuestionRuntime};
pub(crate) use notify::NotifyRuntime;
pub(crate) use progress::Progress;

/// Something that can carry out a command.
pub(crate) trait Runtime: Send + Sync {
    /// Carries it out once. May be dropped at any time and then leaves nothing running; `job.stop` comes
    /// [`Runtime::farewell`] before that.
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Outcome>;

    /// How long it may take to end in good order once it was told to.
    fn farewell(&self) -> Duration {
        Duration::ZERO
    }
}

/// One command to be carried out.
pub(crate) struct Job {
    /// What is asked for, the fence in force filled in.
    pub(crate) command: Arc<Command>,
    /// The same as JSON, as it goes to agents.
    pub(crate) body: Bytes,
    /// The trace it belongs to.
    pub(crate) traceparent: Option<String>,
    /// Where lines go that are worth showing meanwhile.
    pub(crate) progress: Progress,
    /// Time is up, or nobody wants the result any more.
    pub(crate) stop: CancellationToken,
    /// Largest output that can be reported.
    pub(crate) max_output: usize,
}

/// What came of it. Tokens count also when they were spent in vain.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) result: Result<Map<String, Value>, AgentError>,
    pub(crate) insights: Vec<Value>,
    pub(crate) usage: Option<Usage>,
}

impl Outcome {
    pub(crate) fn output(output: Map<String, Value>) -> Self {
        Self { result: Ok(output), insights: Vec::new(), usage: None }
    }
}

impl From<AgentError> for Outcome {
    fn from(error: AgentError) -> Self {
        Self { result: Err(error), insights: Vec::new(), usage: None }
    }
}

/// An error that says whether trying again can help.
pub(crate) fn failure(code: &str, retryable: bool, message: impl Into<String>) -> AgentError {
    AgentError {
        code: code.to_owned(),
        message: message.into(),
        retryable: Some(retryable),
        retry_after_ms: None,
    }
}

/// What runtimes share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) http: reqwest::Client,
    pub(crate) models: Arc<Models>,
}

/// The runtime of an agent; none when somebody else's worker runs it.
pub(crate) fn build(agent: &Agent, shared: &Shared) -> Option<Arc<dyn Runtime>> {
    Some(match &agent.runtime {
        RuntimeSettings::Command { argv, workdir, env, base, roots } => {
            Arc::new(command::CommandRuntime::new(argv, workdir.as_ref(), env, base, roots))
        }
        RuntimeSettings::External => return external::build(),
        RuntimeSettings::Http { url } => Arc::new(http::HttpRuntime::new(&shared.http, url)),
        RuntimeSettings::Llm { system, output_schema, model, provider } => {
            Arc::new(LlmRuntime::new(
                &shared.models,
                system,
                output_schema.as_ref(),
                model.as_deref(),
                provider.as_deref(),
            ))
        }
    })
}
