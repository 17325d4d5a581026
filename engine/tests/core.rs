//! The engine through its door: small templates, one input after the other, what is recorded and what
//! is wished for.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "core/approvals.rs"]
mod approvals;
#[path = "core/attempt.rs"]
mod attempt;
#[path = "core/cancel.rs"]
mod cancel;
#[path = "core/children.rs"]
mod children;
#[path = "core/endings.rs"]
mod endings;
#[path = "core/events.rs"]
mod events;
#[path = "core/failures.rs"]
mod failures;
#[path = "core/fans.rs"]
mod fans;
#[path = "core/fans_steered.rs"]
mod fans_steered;
#[path = "core/gates.rs"]
mod gates;
#[path = "core/histories.rs"]
mod histories;
#[path = "core/lock_histories.rs"]
mod lock_histories;
#[path = "core/locks.rs"]
mod locks;
#[path = "core/loops.rs"]
mod loops;
#[path = "core/properties.rs"]
mod properties;
#[path = "core/recovery.rs"]
mod recovery;
#[path = "core/refusals.rs"]
mod refusals;
#[path = "core/retries.rs"]
mod retries;
#[path = "core/retry_from.rs"]
mod retry_from;
#[path = "core/run.rs"]
mod run;
#[path = "core/suspend.rs"]
mod suspend;
#[path = "core/views.rs"]
mod views;
#[path = "core/waits.rs"]
mod waits;
