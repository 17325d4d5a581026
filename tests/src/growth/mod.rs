//! Databases with a past: finished runs by the million, and what they cost those that come after them.

mod copy;
mod pattern;
mod site;
mod statements;

pub use copy::{Grown, grow};
pub use site::{CHAIN_STEPS, Site};
pub use statements::{Call, Listener, Plan, Scan, explain};

/// The value behind `--name` on the command line of a tool.
#[must_use]
pub fn argument(name: &str) -> Option<String> {
    let flag = format!("--{name}");
    std::env::args().skip_while(|argument| *argument != flag).nth(1)
}
