//! Ways to reach people, one file each.

pub(crate) mod log;
