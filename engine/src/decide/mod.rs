//! `decide`: what an input from outside makes true, or why it changes nothing.

mod annotate;
mod cancel;
mod decision;
mod expire;
mod lock;
mod result;
mod retry;
mod start;
mod suspend;
mod timer;

use serde_json::{Map, Value};
use sluice_proto::agents::AgentCatalogue;
use sluice_proto::event::{Annotate, ForcedRelease, Status};
use sluice_proto::ids::{AgentName, WorkflowId};
use sluice_proto::message::{AgentError, Usage};
use sluice_proto::timestamp::Timestamp;

pub use self::cancel::Cancel;
pub(crate) use self::result::{MAX_ERROR_CHARS, NOT_EXECUTED, agent_error_type, clip, clip_error};
pub use self::retry::{MAX_COMMANDED_RETRIES, Retry};
pub use self::suspend::Suspend;
use crate::attempt::Loss;
use crate::breaker::Breakers;
use crate::child::{self, ChildEnd};
use crate::event::NewEvent;
use crate::lesson::Lessons;
use crate::state::State;
use crate::template::Template;
use crate::wish::DEADLINE;

/// Something that happened outside the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A run was asked for.
    Start {
        /// What the template reads as `context.*`.
        context: Map<String, Value>,
    },
    /// An outstanding attempt brought something.
    Result {
        /// Path of the work.
        path: String,
        /// Visit of its step.
        visit: u32,
        /// Execution of that visit.
        attempt: u32,
        /// What it brought.
        report: Report,
    },
    /// An outstanding attempt was given up.
    Lost {
        /// Path of the work.
        path: String,
        /// Visit of its step.
        visit: u32,
        /// Execution of that visit.
        attempt: u32,
        /// Why.
        loss: Loss,
    },
    /// Somebody decided what a paused run waits for.
    Decision(Decision),
    /// Somebody ends the run.
    Cancel(Cancel),
    /// Somebody has a failed run go on.
    Retry(Retry),
    /// Somebody writes something down about the run.
    Annotate(Annotate),
    /// An operator holds the run up.
    Suspend(Suspend),
    /// An operator has it go on.
    Continue {
        /// Who.
        by: String,
    },
    /// A run was started in the name of this one.
    ChildAdopted {
        /// That run.
        child: WorkflowId,
        /// File name of its template.
        template_name: String,
    },
    /// A child has ended, or could not be started.
    ChildEnded {
        /// The child.
        child: WorkflowId,
        /// How.
        end: Box<ChildEnd>,
    },
    /// Nothing has happened to the run for very long.
    Abandoned {
        /// Since when.
        untouched_since: Timestamp,
    },
    /// The lock is the run's.
    LockGranted {
        /// Step that needs it.
        step: String,
        /// Name of the lock.
        name: String,
        /// Grows with every acquisition of this lock.
        fencing_number: u64,
    },
    /// Another run holds the lock; this one queues.
    LockQueued {
        /// Step that needs it.
        step: String,
        /// Name of the lock.
        name: String,
        /// Run that holds it.
        holder: Option<WorkflowId>,
    },
    /// The moment that a step waits for has come.
    TimerDue {
        /// Step that waits for it.
        step: String,
        /// Visit of that step.
        visit: u32,
    },
    /// Waiting for the lock would close a circle of runs that wait for each other.
    LockRefused {
        /// Step that needs it.
        step: String,
        /// Name of the lock.
        name: String,
        /// The runs of the circle, the holder of the lock first.
        circle: Vec<String>,
    },
    /// Somebody takes the lock from the run.
    LockRevoked {
        /// Name of the lock.
        name: String,
        /// Who, and why.
        forced: ForcedRelease,
    },
    /// The wait for the lock took longer than the template allows.
    LockTimedOut {
        /// Step that needs it.
        step: String,
        /// Name of the lock.
        name: String,
    },
}

/// What an attempt brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The answer, or why there is none.
    pub outcome: Result<Map<String, Value>, AgentError>,
    /// From taking the attempt to its end.
    pub duration_ms: u64,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Findings for later agents.
    pub insights: Vec<Value>,
}

/// A person's decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Go on, or not.
    pub approved: bool,
    /// Which approval is meant; whatever the run waits for when nobody says.
    pub approval_id: Option<String>,
    /// Who; none in open mode.
    pub approver: Option<String>,
    /// In which role.
    pub approver_role: Option<String>,
    /// In their words.
    pub comment: Option<String>,
    /// Why it is right to go on.
    pub justification: Option<String>,
}

/// Why an input changes nothing. Under at-least-once delivery most of these are expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The run exists already.
    #[error("the run has already started")]
    AlreadyStarted,
    /// No such attempt is outstanding: settled, superseded, or its run has ended.
    #[error("no such attempt is outstanding")]
    NotOutstanding,
    /// The run waits for no person.
    #[error("the run is not paused")]
    NotPaused,
    /// The run waits for another decision than the one that was taken.
    #[error("approval '{0}' is not pending: it is decided, or the run waits for another one")]
    OtherApproval(String),
    /// The run has ended.
    #[error("the run has ended as {}", .0.as_str())]
    Ended(Status),
    /// The run has ended and cannot be paused.
    #[error("the run has ended as {}, it cannot be paused", .0.as_str())]
    EndedBefore(Status),
    /// An operator holds the run up already.
    #[error("the run is paused already, by {0}")]
    AlreadySuspended(String),
    /// The run waits for no decision; an operator holds it up.
    #[error("the run waits for no approval, {0} has paused it; `sluice unpause` has it go on")]
    Suspended(String),
    /// Nobody holds the run up.
    #[error("the run was not paused by an operator; an approval is decided with `sluice resume`")]
    NotSuspended,
    /// Somebody has cancelled the run, and it is being cleaned up after.
    #[error("the run is being cancelled; force ends it at once")]
    BeingCancelled,
    /// Only a failed run goes on.
    #[error("only a failed run can be retried; this one is {}", .0.as_str())]
    NotFailed(Status),
    /// The template has no such step.
    #[error("the run's template has no step '{0}'")]
    UnknownStep(String),
    /// A run goes on from a step outside of branches.
    #[error("step '{0}' is in a branch; go on from the step that has the branch")]
    InnerStep(String),
    /// The run never came to the step.
    #[error("the run never reached step '{0}'")]
    StepNotReached(String),
    /// The step was retried as often as it may be.
    #[error("step '{step}' was retried {used} times; {limit} is the limit")]
    RetriesUsedUp {
        /// The step.
        step: String,
        /// Retries so far.
        used: u32,
        /// Retries allowed, by the caller and by the server.
        limit: u32,
    },
    /// The same person has approved already.
    #[error("'{0}' has already approved; another person must")]
    SameApprover(String),
    /// The run does not wait for that lock.
    #[error("the run does not wait for that lock")]
    NotWaitingForLock,
    /// The run does not wait for that moment, or it has not come.
    #[error("the run waits for no such moment")]
    NotWaitingForTimer,
    /// The run has no such child, or knows of its end.
    #[error("the run does not wait for that child")]
    NotWaitingForChild,
    /// The run can have no more children.
    #[error("the run cannot be the parent of another: {0}")]
    NoParent(String),
    /// The run does not hold that lock.
    #[error("the run does not hold that lock")]
    NotHoldingLock,
}

/// Everything besides the state that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The template the run is pinned to.
    pub template: &'a Template,
    /// What is known of the agents.
    pub agents: &'a AgentCatalogue,
    /// The time.
    pub now: Timestamp,
    /// Chance, from −1 to 1, for the start of retries.
    pub jitter: f64,
    /// Circuit breakers of the template that are not as new.
    pub breakers: &'a Breakers,
    /// What is remembered of failures, at least of those that the input tells of.
    pub lessons: &'a Lessons,
}

/// What `input` makes true.
///
/// # Errors
/// Says why it changes nothing.
pub(crate) fn decide(
    situation: &Situation<'_>,
    state: &State,
    input: Input,
) -> Result<Vec<NewEvent>, Refused> {
    match input {
        Input::Start { context } => start::decide(situation, state, context),
        Input::Result { path, visit, attempt, report } => result::decide(
            situation,
            state,
            &result::Outstanding::find(situation, state, &path, visit, attempt)?,
            report,
        ),
        Input::Lost { path, visit, attempt, loss } => {
            let outstanding = result::Outstanding::find(situation, state, &path, visit, attempt)?;
            result::decide(situation, state, &outstanding, loss.report())
        }
        Input::Decision(decision) => decision::decide(situation, state, decision),
        Input::Cancel(cancel) => cancel::decide(situation, state, cancel),
        Input::Retry(retry) => retry::decide(situation, state, retry),
        Input::Annotate(note) => annotate::decide(state, note),
        Input::Suspend(wish) => suspend::suspend(situation, state, wish),
        Input::Continue { by } => suspend::go_on(state, by),
        Input::ChildAdopted { child, template_name } => child::adopted(state, child, template_name),
        Input::ChildEnded { child, end } => child::ended(situation.template, state, &child, *end),
        Input::Abandoned { untouched_since } => {
            expire::abandoned(situation, state, untouched_since)
        }
        Input::TimerDue { step, visit } if step == DEADLINE => {
            expire::deadline(situation, state, visit)
        }
        Input::LockGranted { step, name, fencing_number } => {
            lock::granted(situation, state, &step, &name, fencing_number)
        }
        Input::LockQueued { step, name, holder } => lock::queued(state, &step, &name, holder),
        Input::TimerDue { step, visit } => timer::due(situation, state, &step, visit),
        Input::LockRefused { step, name, circle } => {
            lock::refused(situation, state, &step, &name, &circle)
        }
        Input::LockRevoked { name, forced } => lock::revoked(situation, state, &name, forced),
        Input::LockTimedOut { step, name } => lock::timed_out(situation, state, &step, &name),
    }
}

impl Loss {
    /// A loss, told as the worker would have told it.
    pub(crate) fn report(self) -> Report {
        let (code, message, retryable) = match self {
            Self::Interrupted => (
                "interrupted",
                "the worker vanished after it had begun, and the agent must not be called twice",
                false,
            ),
            Self::Undeliverable => {
                ("undeliverable", "the command was lost under a worker three times", false)
            }
            Self::TimedOut => ("timeout", "the attempt ran longer than allowed", true),
            Self::QueueTimedOut => ("queue_timeout", "no worker took the command in time", true),
            Self::TooLarge => (
                "command_too_large",
                "the step's payload and the context are too large for one message; pass references instead of contents",
                false,
            ),
        };
        Report {
            outcome: Err(AgentError {
                code: code.to_owned(),
                message: message.to_owned(),
                retryable: Some(retryable),
                retry_after_ms: None,
            }),
            duration_ms: 0,
            usage: None,
            insights: Vec::new(),
        }
    }
}

/// Whether trying again can help, where the agent does not say: not for one that changes things.
pub(crate) fn is_retriable(
    error: &AgentError,
    situation: &Situation<'_>,
    agent: &AgentName,
) -> bool {
    error.retryable.unwrap_or_else(|| !situation.agents.traits(agent).effects)
}
