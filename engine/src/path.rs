//! Paths of work. A step's own work has the step's path; engine work around it adds one reserved
//! last part: `review.gate`, `approve.risk`, `approve.announce`, `workflow_failed.notify.0`.
//!
//! Between the ids of a step and of one in its branches stands the name of the branch, or the index of
//! the item: `build.linux.test`, `build.3.test`. So the path of a step has an odd number of parts, and
//! that of engine work an even one: ids hold no dot, and the two can never be mistaken for each other.

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
    /// Finding out why its agent keeps failing.
    Diagnosis,
}

impl Job {
    /// Those that have a path of their own.
    const AROUND: [Self; 5] =
        [Self::Gate, Self::Risk, Self::Announcement, Self::Undo, Self::Diagnosis];

    fn suffix(self) -> &'static str {
        match self {
            Self::Own => "",
            Self::Gate => ".gate",
            Self::Risk => ".risk",
            Self::Announcement => ".announce",
            Self::Undo => ".undo",
            Self::Diagnosis => ".diagnose",
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
        // No branch and no step in one is called so.
        if path.contains(".notify.") {
            return Self::Notification(path);
        }
        let of_step = path.split('.').count() % 2 == 1;
        let found =
            Job::AROUND.into_iter().find_map(|job| Some((path.strip_suffix(job.suffix())?, job)));
        let (step, job) = found.filter(|_| !of_step).unwrap_or((path, Job::Own));
        Self::Step { step, job }
    }
}

/// The branches around a step, by path, from the innermost outwards.
pub(crate) fn branches_around(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(branch_of(path), |branch| branch_of(fan_of(branch)?.0))
}

/// The branch that a step is in, by path; none outside of all.
pub(crate) fn branch_of(step: &str) -> Option<&str> {
    Some(step.rsplit_once('.')?.0)
}

/// The step whose branch this is, and the name of the branch in it.
pub(crate) fn fan_of(branch: &str) -> Option<(&str, &str)> {
    branch.rsplit_once('.')
}

/// The step outside of all branches that a step is in, or is.
pub(crate) fn outermost(step: &str) -> &str {
    step.split_once('.').map_or(step, |(first, _)| first)
}

/// Path of a step next to the one at `path`.
pub(crate) fn beside(path: &str, id: &str) -> String {
    match branch_of(path) {
        Some(branch) => format!("{branch}.{id}"),
        None => id.to_owned(),
    }
}

/// Whether a path is in a branch, or in a branch of a branch of it.
pub(crate) fn is_within(path: &str, branch: &str) -> bool {
    path.strip_prefix(branch).is_some_and(|rest| rest.starts_with('.'))
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
        check("review.diagnose", Work::Step { step: "review", job: Job::Diagnosis });
        check("gate", Work::Step { step: "gate", job: Job::Own });
        check("workflow_failed.notify.0", Work::Notification("workflow_failed.notify.0"));
        check("fan.left.gate", Work::Step { step: "fan.left.gate", job: Job::Own });
        check("fan.3.notify", Work::Step { step: "fan.3.notify", job: Job::Own });
        check("fan.0.gate.gate", Work::Step { step: "fan.0.gate", job: Job::Gate });
    }

    #[test]
    fn branches_are_found_outwards() {
        let around = |path| branches_around(path).collect::<Vec<_>>();
        assert_eq!(around("a.b.c.4.e"), ["a.b.c.4", "a.b"]);
        assert_eq!(around("a"), [""; 0]);
        assert_eq!((beside("a.b.c", "d"), beside("a", "d")), ("a.b.d".to_owned(), "d".to_owned()));
        assert!(
            is_within("a.b.c", "a.b") && !is_within("a.bb.c", "a.b") && !is_within("a.b", "a.b")
        );
    }
}
