//! Verbs of the API: `<noun>.<verb>`, the last tokens of its subjects.

/// Start a run.
pub const WORKFLOW_EXECUTE: &str = "workflow.execute";
/// State of a run.
pub const WORKFLOW_STATUS: &str = "workflow.status";
/// Whole state of a run, context and approvals included.
pub const WORKFLOW_STATE: &str = "workflow.state";
/// A page of a run's history.
pub const WORKFLOW_EVENTS: &str = "workflow.events";
/// Runs, newest first.
pub const WORKFLOW_LIST: &str = "workflow.list";
/// Decide what a paused run waits for.
pub const WORKFLOW_RESUME: &str = "workflow.resume";
/// Circuit breakers about which there is something to say.
pub const BREAKER_LIST: &str = "breaker.list";
/// End a run.
pub const WORKFLOW_CANCEL: &str = "workflow.cancel";
/// Whether a run's record is what was written.
pub const WORKFLOW_VERIFY: &str = "workflow.verify";
/// Fold a run's events and compare with what is stored of it.
pub const WORKFLOW_REPLAY: &str = "workflow.replay";
/// A run as it was at a moment.
pub const WORKFLOW_STATE_AT: &str = "workflow.state_at";
/// What happened to a run between two moments.
pub const WORKFLOW_DIFF: &str = "workflow.diff";
/// States of a run that are kept.
pub const WORKFLOW_SNAPSHOTS: &str = "workflow.snapshots";
/// Write something down about a run.
pub const WORKFLOW_ANNOTATE: &str = "workflow.annotate";
/// Runs that have ended, or went into the archive, lately.
pub const WORKFLOW_ENDED: &str = "workflow.ended";
/// Move the events of runs that ended long ago into the archive.
pub const WORKFLOW_ARCHIVE: &str = "workflow.archive";
/// Hold a run up.
pub const WORKFLOW_PAUSE: &str = "workflow.pause";
/// Let a run go on that was held up.
pub const WORKFLOW_UNPAUSE: &str = "workflow.unpause";
/// Go on with a failed run from one of its steps.
pub const WORKFLOW_RETRY: &str = "workflow.retry";
/// Templates that can be run.
pub const TEMPLATE_LIST: &str = "template.list";
/// Findings about a template's text.
pub const TEMPLATE_VALIDATE: &str = "template.validate";
/// Whether the coordinator and its database work.
pub const SYSTEM_HEALTH: &str = "system.health";
/// The coordinator's counters, as Prometheus text.
pub const SYSTEM_METRICS: &str = "system.metrics";
/// Messages that could not be processed.
pub const DEAD_LETTER_LIST: &str = "dead_letter.list";
/// One of them, with its payload and its history.
pub const DEAD_LETTER_SHOW: &str = "dead_letter.show";
/// Send it again where it came from.
pub const DEAD_LETTER_REDRIVE: &str = "dead_letter.redrive";
/// Decide that nothing more comes of it.
pub const DEAD_LETTER_DROP: &str = "dead_letter.drop";
/// Locks, who holds them and who waits.
pub const LOCK_LIST: &str = "lock.list";
/// Take a lock from the run that holds it.
pub const LOCK_RELEASE: &str = "lock.release";
/// What a run waits for, and who can move it.
pub const WORKFLOW_WHY: &str = "workflow.why";
/// Workers, and what they hold.
pub const WORKER_LIST: &str = "worker.list";

/// Verbs that change something: also taken from `sluice.command.v1.>`.
pub const MUTATING: &[&str] = &[
    DEAD_LETTER_DROP,
    DEAD_LETTER_REDRIVE,
    LOCK_RELEASE,
    WORKFLOW_ANNOTATE,
    WORKFLOW_ARCHIVE,
    WORKFLOW_CANCEL,
    WORKFLOW_EXECUTE,
    WORKFLOW_PAUSE,
    WORKFLOW_RESUME,
    WORKFLOW_RETRY,
    WORKFLOW_UNPAUSE,
];
