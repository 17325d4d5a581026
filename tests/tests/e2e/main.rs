//! End-to-end tests. One binary, one pair of servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod bad_input;
mod control;
mod dead_letters;
mod dialect;
mod fans;
mod first_run;
mod idle;
mod liveness;
mod locks;
mod long_list;
mod protocol;
mod record;
mod waits;
mod why;
