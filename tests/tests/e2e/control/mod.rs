//! People steer runs: cancelling them, having them go on.

mod approval;
mod cancel;
mod failures;
mod pause;
mod recovery;
mod retry;
mod time;
