//! The words of Sluice: ids, subjects, messages, events, API bodies and error codes.
//!
//! Everything here crosses a process boundary or is stored. A type that changes shape breaks
//! somebody else's worker or somebody's audit trail, so each is pinned by a golden file under
//! `proto/golden/` and by a JSON Schema under `proto/schemas/`.

pub mod agents;
pub mod api;
pub mod burial;
pub mod checkpoint;
pub mod error;
pub mod event;
pub mod ids;
pub mod json;
pub mod message;
pub mod operations;
pub mod roster;
pub mod seal;
pub mod subject;
pub mod timestamp;
pub mod trace;
pub mod verify;
