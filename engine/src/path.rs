//! Paths of work. A step's own work has the step's path; engine work around it adds one reserved
//! last part: `review.gate`, `approve.risk`, `approve.announce`, `workflow_failed.notify.0`.
//!
//! Ids of steps hold no dot, so the two can never be mistaken for each other.

/// Work that an attempt can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work<'a> {
    /// Work of a step.
    Step {
        /// The step.
        step: &'a str,
        /// Which part of it.
        job: Job,
    },
    /// A lifecycle notification, by its whole id.
    Notification(&'a str),
}

/// Part of a step's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// The step itself.
    Own,
    /// Its decision gate.
    Gate,
    /// The risk of its approval.
    Risk,
    /// Telling people that its approval waits.
    Announcement,
    /// Undoing what its agent did before it failed.
    Undo,
}

impl Job {
    fn suffix(self) -> &'static str {
        match self {
            Self::Own => "",
            Self::Gate => ".gate",
            Self::Risk => ".risk",
            Self::Announcement => ".announce",
            Self::Undo => ".undo",
        }
    }

    /// The path of this part of a step.
    pub(crate) fn path(self, step: &str) -> String {
        format!("{step}{}", self.suffix())
    }
}

impl<'a> Work<'a> {
    /// Reads a path.
    pub(crate) fn parse(path: &'a str) -> Self {
        for job in [Job::Gate, Job::Risk, Job::Announcement, Job::Undo] {
            if let Some(step) = path.strip_suffix(job.suffix()) {
                return Self::Step { step, job };
            }
        }
        if path.contains(".notify.") {
            return Self::Notification(path);
        }
        Self::Step { step: path, job: Job::Own }
    }
}

/// Id of the n-th notification that a trigger fires, in a run that has failed and gone on `retried` times.
pub(crate) fn notification_id(trigger: &str, index: usize, retried: u32) -> String {
    match retried {
        0 => format!("{trigger}.notify.{index}"),
        again => format!("{trigger}.notify.{index}.{again}"),
    }
}

/// Id of the message that escalates a failure of a step.
pub(crate) fn escalation_id(step: &str) -> String {
    format!("{step}.notify.escalation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_work_is_told_from_steps() {
        let check = |path, expected| assert_eq!(Work::parse(path), expected);
        check("review", Work::Step { step: "review", job: Job::Own });
        check("review.gate", Work::Step { step: "review", job: Job::Gate });
        check("fan.left.review.gate", Work::Step { step: "fan.left.review", job: Job::Gate });
        check("gate", Work::Step { step: "gate", job: Job::Own });
        check("workflow_failed.notify.0", Work::Notification("workflow_failed.notify.0"));
    }
}
