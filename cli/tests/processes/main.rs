//! The binary as processes that are killed, stopped, frozen, and left without their servers.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and shows its numbers when asked"
)]

mod agents;
mod dev;
mod dev_life;
mod folder;
#[cfg(feature = "full")]
mod other_languages;
mod outages;
mod process;
mod record;
mod shared_work;
mod sigkill;
mod site;
mod starting;
mod stopping;
