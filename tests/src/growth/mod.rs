//! Databases with a past: finished runs by the million, and what they cost those that come after them.

mod copy;
mod pattern;
mod site;
mod statements;

pub use copy::{Grown, grow};
pub use site::{CHAIN_STEPS, Site};
pub use statements::{Call, Listener, Plan, Scan, explain};
