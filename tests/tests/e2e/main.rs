//! End-to-end tests. One binary, one pair of servers.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on must stop, and shows its numbers when asked"
)]

mod archive;
mod bad_input;
mod children;
mod control;
mod dead_letters;
mod dialect;
mod fans;
mod first_run;
mod growth;
mod idle;
mod liveness;
mod locks;
mod long_list;
mod protocol;
mod record;
mod record_checkpoints;
mod record_mutations;
mod record_past;
mod record_rich;
mod record_snapshots;
mod sql;
mod waits;
mod why;
