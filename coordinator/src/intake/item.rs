//! An input on its way into a batch, and whom to tell what became of it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use sluice_engine::attempt::{AttemptRow, Loss};
use sluice_engine::{Decision, Input, Report};
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::event::ForcedRelease;
use sluice_proto::ids::{CommandId, WorkflowId};
use sluice_proto::message::{AgentError, Refusal, ResultReply};
use tokio::sync::oneshot;

use super::batch::Verdict;
use crate::coordinator::Shared;
use crate::library::Pinned;
use crate::store::StoreError;

/// One input.
pub(crate) struct Item {
    /// The run it is for.
    pub(crate) workflow_id: WorkflowId,
    /// What happened.
    pub(crate) work: Work,
    /// Who waits for the outcome.
    pub(crate) reply_to: ReplyTo,
}

/// What happened.
pub(crate) enum Work {
    /// A worker reports.
    Result {
        /// The attempt.
        id: CommandId,
        /// Agent token of the subject.
        agent: String,
        /// The fence the worker works under.
        fence: u64,
        /// What it brought.
        report: Report,
    },
    /// The sweeper gave an attempt up.
    Lost {
        /// The attempt.
        id: CommandId,
        /// The row it had then: a heartbeat since means that it is not lost.
        row: Box<AttemptRow>,
        /// Why.
        loss: Loss,
    },
    /// A run is asked for.
    Start {
        /// The template it is pinned to.
        template: Pinned,
        /// What the template reads as `context.*`.
        context: Map<String, Value>,
        /// The run in whose name it is started; it exists.
        parent: Option<WorkflowId>,
        /// Makes repeated requests one.
        request: Option<Request>,
    },
    /// A person decides.
    Decide {
        /// What.
        decision: Decision,
        /// Makes repeated requests one.
        request: Option<Request>,
    },
    /// A person steers a run that is there.
    Control {
        /// What they want of it.
        input: Input,
        /// Makes repeated requests one.
        request: Option<Request>,
    },
    /// A lock is free while this run queues for it.
    GrantLock {
        /// Name of the lock.
        name: String,
    },
    /// A child that this run waits for has ended, or is not there.
    ChildOver {
        /// The child.
        child: WorkflowId,
    },
    /// The moment that a step waits for has come.
    TimerDue {
        /// Step that waits for it.
        step: String,
        /// Visit of that step.
        visit: u32,
    },
    /// Somebody takes a lock from this run.
    ReleaseLock {
        /// Name of the lock.
        name: String,
        /// Who, and why.
        forced: ForcedRelease,
        /// Makes repeated requests one.
        request: Option<Request>,
    },
    /// A run has queued for longer than its template allows.
    LockTimedOut {
        /// Step that queues.
        step: String,
        /// Name of the lock.
        name: String,
    },
}

/// A mutating request that named itself.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its name.
    pub(crate) id: String,
    /// The verb it was made with.
    pub(crate) verb: &'static str,
}

impl Work {
    /// The request it came with, if it named itself.
    pub(crate) fn request(&self) -> Option<&Request> {
        match self {
            Self::Start { request, .. }
            | Self::Decide { request, .. }
            | Self::Control { request, .. }
            | Self::ReleaseLock { request, .. } => request.as_ref(),
            _ => None,
        }
    }
}

/// Who waits for the outcome.
pub(crate) enum ReplyTo {
    /// A worker, before it acknowledges its command.
    Worker(sluice_bus::Request),
    /// A caller of the API.
    Caller(oneshot::Sender<Result<Bytes, ApiError>>),
    /// Nobody.
    Nobody,
}

impl Item {
    /// Tells what became of it. Called after the commit.
    pub(super) async fn settle(self, shared: &Arc<Shared>, verdict: Verdict) {
        match (self.reply_to, verdict) {
            (ReplyTo::Worker(request), verdict) => {
                let reply = match verdict {
                    Verdict::Recorded | Verdict::Answered(_) => {
                        shared.metrics.results_recorded.add(1);
                        ResultReply::Recorded
                    }
                    Verdict::Refused(reason) => {
                        shared.metrics.results_refused.add(1);
                        ResultReply::Refused { reason }
                    }
                };
                let body = serde_json::to_vec(&reply).unwrap_or_default();
                if let Err(error) = request.respond(body).await {
                    tracing::debug!(%error, "a worker could not be answered; it will ask again");
                }
            }
            (ReplyTo::Caller(caller), Verdict::Answered(answer)) => {
                // A caller that has gone away needs no answer.
                let _ = caller.send(answer);
            }
            (ReplyTo::Caller(caller), Verdict::Recorded | Verdict::Refused(_)) => {
                let _ = caller
                    .send(Err(ApiError::new(ErrorCode::Internal, "the request has no answer")));
            }
            (ReplyTo::Nobody, _) => {}
        }
    }

    /// Tells that it could not be applied. Workers are not answered: they ask again.
    pub(super) async fn fail(self, error: &StoreError) {
        let (ReplyTo::Caller(caller), answer) = (self.reply_to, api_error(error)) else {
            if !matches!(error, StoreError::Unavailable(_)) {
                tracing::error!(workflow.id = %self.workflow_id, %error, "an input could not be applied");
            }
            return;
        };
        let _ = caller.send(Err(answer));
    }

    /// Whether the database may be refusing what an agent sent.
    pub(super) fn may_be_poisoned(&self) -> bool {
        let Work::Result { report, .. } = &self.work else { return false };
        !report.outcome.as_ref().is_err_and(|error| error.code == BAD_OUTPUT)
    }

    /// The same attempt, ended as `bad_output`: what PostgreSQL refuses can only be what it brought.
    pub(super) fn without_poison(self) -> Self {
        let Work::Result { id, agent, fence, .. } = self.work else { return self };
        let error = AgentError {
            code: BAD_OUTPUT.to_owned(),
            message: "the database refuses what the agent sent".to_owned(),
            retryable: Some(false),
            retry_after_ms: None,
        };
        let report =
            Report { outcome: Err(error), duration_ms: 0, usage: None, insights: Vec::new() };
        Self { work: Work::Result { id, agent, fence, report }, ..self }
    }
}

const BAD_OUTPUT: &str = "bad_output";

/// What a caller is told about a failure of the store.
pub(crate) fn api_error(error: &StoreError) -> ApiError {
    match error {
        StoreError::Unavailable(_) => ApiError::new(
            ErrorCode::DatabaseUnavailable,
            "PostgreSQL does not answer; nothing was changed, try again",
        ),
        StoreError::Conflict => ApiError::new(
            ErrorCode::Overloaded,
            "other writers were faster every time; nothing was changed, try again",
        ),
        StoreError::Data(_) | StoreError::Other(_) | StoreError::Unreadable { .. } => {
            tracing::error!(%error, "a request failed in the store");
            ApiError::new(ErrorCode::Internal, "the coordinator failed; its log has the cause")
        }
    }
}

impl From<sluice_engine::Refused> for Verdict {
    fn from(refused: sluice_engine::Refused) -> Self {
        use sluice_engine::Refused;
        let code = match &refused {
            Refused::NotOutstanding
            | Refused::NotWaitingForLock
            | Refused::NotWaitingForTimer
            | Refused::NotWaitingForChild => {
                return Self::Refused(Refusal::NotOutstanding);
            }
            Refused::NoParent(_) => ErrorCode::NotAParent,
            Refused::NotHoldingLock => ErrorCode::LockNotHeld,
            Refused::AlreadyStarted => ErrorCode::WorkflowIdTaken,
            Refused::NotPaused | Refused::Suspended(_) | Refused::NotSuspended => {
                ErrorCode::NotPaused
            }
            Refused::SameApprover(_) | Refused::OtherApproval(_) => ErrorCode::AlreadyDecided,
            Refused::EndedBefore(_) | Refused::AlreadySuspended(_) => ErrorCode::NotPausable,
            Refused::Ended(_) | Refused::BeingCancelled => ErrorCode::NotCancellable,
            Refused::UnknownStep(_) => ErrorCode::StepNotFound,
            Refused::NotFailed(_)
            | Refused::StepNotReached(_)
            | Refused::InnerStep(_)
            | Refused::RetriesUsedUp { .. } => ErrorCode::NotRetryable,
        };
        Self::Answered(Err(ApiError::new(code, refused.to_string())))
    }
}
