//! The binary as real processes: a site of separate roles, HTTP agents that log every call, and what
//! the database must say whatever was killed.

pub mod agents;
pub mod folder;
pub mod process;
pub mod proxy;
pub mod record;
pub mod site;
