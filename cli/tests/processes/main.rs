//! The binary as processes that are killed, stopped, frozen, and left without their servers.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and shows its numbers when asked"
)]

mod audits;
#[cfg(feature = "full")]
mod chapters;
#[cfg(feature = "full")]
mod compose;
mod demo;
mod dev;
mod dev_life;
#[cfg(feature = "full")]
mod guide;
mod looking_back;
mod model;
mod names;
#[cfg(feature = "full")]
mod other_languages;
mod outages;
mod own_work;
mod reference;
mod shared_work;
#[cfg(feature = "full")]
mod shell;
mod shop;
mod sigkill;
mod starting;
mod stopping;
#[cfg(feature = "full")]
mod tasks;
#[cfg(feature = "full")]
mod troubles;
