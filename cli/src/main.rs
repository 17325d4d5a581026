//! The one binary: every role, every client command, and sluice dev.
fn main() {}
