//! The colours of drawings. Nothing is said by colour alone: shapes, words and dashes say it too.

use sluice_engine::template::Outcome;

use super::Kind;

/// Inside and outline.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    pub(super) fill: &'static str,
    pub(super) line: &'static str,
}

pub(super) const INK: &str = "#1f2933";
pub(super) const QUIET: &str = "#52606d";
pub(super) const ANSWER: &str = "#334e68";
pub(super) const FAILURE: &str = "#b3261e";

const LOCKS: [Paint; 4] = [
    Paint { fill: "#dff3f0", line: "#0f766e" },
    Paint { fill: "#fbe4ef", line: "#a3286a" },
    Paint { fill: "#e6e9fb", line: "#3b48a8" },
    Paint { fill: "#eef3d9", line: "#5a6b14" },
];

pub(super) fn of_kind(kind: Kind) -> Paint {
    let (fill, line) = match kind {
        Kind::Agent => ("#e8f1fb", "#2b6cb0"),
        Kind::Rollback => ("#fdebd8", "#b7561b"),
        Kind::Approval => ("#fff0b8", "#8d6708"),
        Kind::Condition => ("#efe9fb", "#6b46c1"),
        Kind::Message => ("#f1f3f5", "#52606d"),
        Kind::Wait => ("#e0f2f7", "#1c6b80"),
        Kind::Branches => ("#e9eef5", "#334e68"),
        Kind::Child => ("#f3ecf8", "#7a3f9a"),
        Kind::Terminal => ("#e3f5e8", "#1d7a3e"),
    };
    Paint { fill, line }
}

pub(super) fn of_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "#1d7a3e",
        Outcome::Failed => "#b3261e",
        Outcome::RolledBack => "#b7561b",
        Outcome::Paused => "#8d6708",
        Outcome::Cancelled => "#52606d",
    }
}

pub(super) fn of_lock(number: usize) -> Paint {
    LOCKS[number % LOCKS.len()]
}
