//! Agents that are functions of the process that starts the worker.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use sluice_proto::ids::AgentName;
use sluice_proto::message::{AgentError, Command};

use super::{Job, Outcome, Runtime};

type Call = dyn Fn(Arc<Command>) -> BoxFuture<'static, Result<Map<String, Value>, AgentError>>
    + Send
    + Sync;

/// An `external` agent that this process runs itself.
#[derive(Clone)]
pub struct Function {
    pub(crate) agent: AgentName,
    call: Arc<Call>,
}

impl Function {
    /// `call` carries out one command of `agent`; what it gives is recorded as the step's output or error.
    /// It may be dropped at any time and must leave nothing running then.
    pub fn new<F, R>(agent: AgentName, call: F) -> Self
    where
        F: Fn(Arc<Command>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Map<String, Value>, AgentError>> + Send + 'static,
    {
        Self { agent, call: Arc::new(move |command| call(command).boxed()) }
    }
}

impl Runtime for Function {
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Outcome> {
        // The call belongs to the attempt's own task, where a panic ends that attempt only.
        async move { (self.call)(job.command).await.map_or_else(Outcome::from, Outcome::output) }
            .boxed()
    }
}
