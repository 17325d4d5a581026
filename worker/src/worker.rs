//! A worker from start to stop.

use std::sync::Arc;
use std::time::Duration;

use sluice_bus::{Bus, BusError};
use sluice_proto::ids::{AgentName, WorkerName};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agents::{AgentsFile, nearest};
use crate::executor::{Context, Held, Seat, pull, watch_cancels};
use crate::roster::{Naming, Roster};
use crate::runtime::{
    self, Function, LlmSettings, Models, NotifyRuntime, QuestionRuntime, Runtime, Shared,
};

/// Attempts of a reserved agent that one worker runs at the same time.
const RESERVED_CONCURRENCY: usize = 16;
/// After the grace: time to end programs and to hand commands back.
const HAND_BACK_TIME: Duration = Duration::from_secs(5);

/// What a worker needs to know.
pub struct WorkerConfig {
    /// The connection.
    pub bus: Bus,
    /// The agents it may run.
    pub agents: AgentsFile,
    /// What runs `external` agents in this process; the others of them run elsewhere.
    pub functions: Vec<Function>,
    /// Only these of them; all, and the engine's own two, when absent.
    pub only: Option<Vec<AgentName>>,
    /// Attempts at the same time, over all agents.
    pub concurrency: usize,
    /// What this worker is called; the same after a restart.
    pub naming: Naming,
    /// Names this process in claims and results; no two ever have the same.
    pub worker_id: WorkerName,
    /// The model that is asked where nobody names one.
    pub llm: Option<LlmSettings>,
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No such agent here.
    #[error("no agent '{name}' can be run here{hint}")]
    UnknownAgent {
        /// Who was asked for.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// It would never do anything.
    #[error("there is nothing to run: no agent has a runtime here")]
    NothingToRun,
    /// No HTTP client can be made.
    #[error("no HTTP client: {0}")]
    Http(String),
    /// Two workers that are alive cannot have one name.
    #[error("a worker named '{name}' is alive ({holder}); choose another name with --name")]
    NameTaken {
        /// The name.
        name: WorkerName,
        /// Who has it.
        holder: String,
    },
    /// It was taken for lost, and what it held was given to others.
    #[error("another worker has taken the name '{name}' since ({holder})")]
    Superseded {
        /// The name.
        name: WorkerName,
        /// Who has it.
        holder: String,
    },
    /// Worker and coordinator are of versions that do not fit.
    #[error(
        "the coordinator does not understand how this worker announces itself; use the same version of both"
    )]
    NotUnderstood,
    /// NATS is not as it has to be.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Time for the last word to the coordinator.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// A running worker.
pub struct Worker {
    context: Arc<Context>,
    pulling: TaskTracker,
}

impl Worker {
    /// Starts pulling commands for every agent that has a runtime here.
    ///
    /// # Errors
    /// An agent that is not there, or a NATS server that cannot be used.
    pub async fn start(config: WorkerConfig) -> Result<Self, WorkerError> {
        let seats = seats(&config)?;
        let names: Vec<AgentName> = seats.iter().map(|seat| seat.agent.clone()).collect();
        config.bus.ensure_topology().await?;
        config.bus.ensure_step_consumers(&names).await?;
        let context = Arc::new(Context {
            slots: Arc::new(Semaphore::new(config.concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            bus: config.bus,
            worker_id: config.worker_id,
            held: Held::default(),
            attempts: TaskTracker::new(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            left: CancellationToken::new(),
            gone: CancellationToken::new(),
            expelled: watch::Sender::new(None),
            roll_calls: watch::Sender::new(None),
        });
        let worker = Self { context, pulling: TaskTracker::new() };
        let roster = Roster::new(
            Arc::clone(&worker.context),
            config.naming,
            names.clone(),
            config.concurrency,
        );
        let name = roster.join().await?;
        for seat in seats {
            worker.serve(seat).await?;
        }
        worker.pulling.close();
        tracing::info!(worker.name = %name, worker.id = %worker.context.worker_id, agents = ?names.iter().map(AgentName::as_str).collect::<Vec<_>>(), "worker started");
        Ok(worker)
    }

    async fn serve(&self, seat: Seat) -> Result<(), BusError> {
        let context = &self.context;
        let notices = context.bus.subscribe(context.bus.subjects().cancels_of(&seat.agent)).await?;
        tokio::spawn(watch_cancels(context.held.clone(), notices, context.ended.clone()));
        self.pulling.spawn(pull(Arc::clone(context), Arc::new(seat)));
        Ok(())
    }

    /// How many attempts it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.context.held.count()
    }

    /// Returns when the worker may not go on, with the reason: another one has its name, and what it held
    /// was given to others.
    pub async fn expelled(&self) -> String {
        let mut expelled = self.context.expelled.subscribe();
        match expelled.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender lives as long as this worker.
            Err(_) => std::future::pending().await,
        }
    }

    /// Pulls nothing more and gives what runs until the end of `grace`. The rest is handed back: what was
    /// not claimed is delivered again at once, what was claimed is left to its lease.
    pub async fn stop(self, grace: Duration) {
        let context = &self.context;
        context.closing.cancel();
        self.pulling.wait().await;
        context.attempts.close();
        if timeout(grace, context.attempts.wait()).await.is_err() {
            tracing::info!(
                worker.id = %context.worker_id,
                held = self.held(),
                "grace is over, handing back"
            );
        }
        context.ended.cancel();
        if timeout(HAND_BACK_TIME, context.attempts.wait()).await.is_err() {
            tracing::warn!(
                worker.id = %context.worker_id,
                held = self.held(),
                "attempts did not end in time"
            );
        }
        context.left.cancel();
        if timeout(LEAVE_TIME, context.gone.cancelled()).await.is_err() {
            tracing::debug!("nobody was told that this worker leaves; its lease will tell");
        }
        if let Err(error) = context.bus.flush().await {
            tracing::debug!(%error, "what was handed back may not have left");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.context.closing.cancel();
        self.context.ended.cancel();
        self.context.left.cancel();
        self.context.gone.cancel();
    }
}

/// The agents to be run, each with its runtime and its room.
fn seats(config: &WorkerConfig) -> Result<Vec<Seat>, WorkerError> {
    let http = runtime::http::client().map_err(|error| WorkerError::Http(error.to_string()))?;
    let models =
        Arc::new(Models::new(http.clone(), config.llm.clone(), config.agents.providers.clone()));
    let shared = Shared { http, models };
    let seat = |agent: AgentName, concurrency, runtime: Arc<dyn Runtime>| Seat {
        agent,
        runtime,
        slots: Arc::new(Semaphore::new(concurrency)),
    };
    let mut seats = vec![
        seat(
            AgentName::llm(),
            RESERVED_CONCURRENCY,
            Arc::new(QuestionRuntime::new(&shared.models)),
        ),
        seat(AgentName::notify(), RESERVED_CONCURRENCY, Arc::new(NotifyRuntime)),
    ];
    for agent in config.agents.agents() {
        let function = config.functions.iter().find(|function| function.agent == agent.name);
        let function = function.map(|function| Arc::new(function.clone()) as Arc<dyn Runtime>);
        if let Some(runtime) = runtime::build(agent, &shared).or(function) {
            seats.push(seat(agent.name.clone(), agent.concurrency, runtime));
        }
    }
    if let Some(only) = &config.only {
        let known: Vec<&str> = seats.iter().map(|seat| seat.agent.as_str()).collect();
        if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
            let hint = nearest(unknown.as_str(), &known)
                .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            return Err(WorkerError::UnknownAgent { name: unknown.to_string(), hint });
        }
        seats.retain(|seat| only.contains(&seat.agent));
    }
    if seats.is_empty() { Err(WorkerError::NothingToRun) } else { Ok(seats) }
}
