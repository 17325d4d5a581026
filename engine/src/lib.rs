//! The pure core: template language, state, decide / apply / plan.
//!
//! [`advance`] is the door: an input and the state before it in, events, effects and the state after
//! it out. Clock, ids and chance are arguments; nothing here waits, reads or writes. Recovery and
//! replay fold recorded events with the same [`apply`] that runs live.

mod advance;
mod apply;
pub mod attempt;
pub mod backoff;
pub mod breaker;
mod child;
mod decide;
mod effect;
mod escalation;
mod event;
pub mod expr;
mod fan;
pub mod lesson;
mod notification;
mod past;
mod path;
mod plan;
mod route;
mod scope;
mod state;
pub mod template;
mod view;
mod wait;
mod wish;
mod yaml;

pub use advance::{Advance, advance, replay};
pub use apply::apply;
pub use child::{ChildEnd, MAX_CHAIN, MAX_CHILDREN_PER_RUN};
pub use decide::{
    Cancel, Decision, Input, MAX_COMMANDED_RETRIES, Refused, Report, Retry, Situation, Suspend,
};
pub use effect::{Effect, effects};
pub use event::NewEvent;
pub use fan::MAX_BRANCHES_PER_RUN;
pub use past::{Past, changes};
pub use plan::{MAX_INNER_STEPS_PER_RUN, MAX_STEPS_PER_RUN};
pub use state::{
    Approval, Branch, BranchFailure, BranchStatus, Cancellation, Child, Delivery, Ending, Failure,
    FanRecord, HeldLock, Phase, Position, State, StepRecord, Suspension,
};
pub use view::{
    current_step, execute_response, pending_approval, state_response, status_response,
    step_statuses,
};
pub use wish::{
    AttemptDraft, DEADLINE, WishedAttempt, WishedChild, WishedLock, WishedTimer, Wishes, draft,
    wishes,
};
