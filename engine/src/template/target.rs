//! Names that an edge can lead to without a step of that name.

use indexmap::IndexMap;
use serde_json::Value;

use super::finding::nearest;
use super::model::{End, Outcome, Position, Target};
use super::query::ANY_ITEM;

/// What the well-known names do to a run.
pub const ENDS: [(&str, Outcome); 7] = [
    ("notify_failure", Outcome::Failed),
    ("notify_rollback", Outcome::RolledBack),
    ("notify_success", Outcome::Completed),
    ("notify_test_failure", Outcome::Failed),
    ("workflow_complete", Outcome::Completed),
    ("workflow_failed", Outcome::Failed),
    ("workflow_paused", Outcome::Paused),
];

/// The virtual target of a well-known name.
#[must_use]
pub fn end(name: &str) -> Option<End> {
    let (name, outcome) = ENDS.into_iter().find(|(known, _)| *known == name)?;
    Some(End { name: name.to_owned(), outcome })
}

/// Plain failure; also stands in for a target that could not be read.
pub(super) fn failed_end() -> End {
    End { name: "workflow_failed".to_owned(), outcome: Outcome::Failed }
}

/// The end of a run where no target is named.
pub(super) fn complete_end() -> End {
    End { name: "workflow_complete".to_owned(), outcome: Outcome::Completed }
}

/// The form in which an answer of a gate and its `on_<answer>` key are compared: lower case, without
/// space around it, with `_` for spaces and `-` inside.
#[must_use]
pub fn normalise_answer(text: &str) -> String {
    text.trim().to_lowercase().replace([' ', '-'], "_")
}

/// The answer that a value stands for; only texts and truth values can be one.
#[must_use]
pub fn answer_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(normalise_answer(text)),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// The end of a branch.
pub(crate) fn branch_end(outcome: Outcome) -> End {
    let name = if outcome == Outcome::Completed { BRANCH_COMPLETE } else { BRANCH_FAILED };
    End { name: name.to_owned(), outcome }
}

/// The ends of a branch.
pub const BRANCH_ENDS: [(&str, Outcome); 2] =
    [(BRANCH_COMPLETE, Outcome::Completed), (BRANCH_FAILED, Outcome::Failed)];
/// The branch has ended well.
pub(crate) const BRANCH_COMPLETE: &str = "branch_complete";
/// The branch has failed.
pub(crate) const BRANCH_FAILED: &str = "branch_failed";

/// Every name that an edge of one file can lead to.
pub(super) struct Targets {
    /// The names of the file, then those of each list of steps in a branch.
    blocks: Vec<Names>,
    /// The list that is being read.
    here: usize,
    /// Triggers of the notifications.
    pub(super) triggers: Vec<String>,
}

/// The names of one list of steps.
#[derive(Default)]
struct Names {
    /// Path of the branch; empty for the file.
    path: String,
    /// List around it.
    around: Option<usize>,
    /// `item` and `index` can be read here.
    has_item: bool,
    /// Step ids in file order, and where each is.
    steps: IndexMap<String, Position>,
}

impl Default for Targets {
    fn default() -> Self {
        Self { blocks: vec![Names::default()], here: 0, triggers: Vec::new() }
    }
}

impl Targets {
    /// Which list is being read.
    pub(super) fn here(&self) -> usize {
        self.here
    }

    /// Goes back to a list, or to one that a step was found in.
    pub(super) fn go_to(&mut self, block: usize) {
        self.here = block;
    }

    /// Begins a list of steps in the one that is being read: the branch `name` of step `fan`.
    pub(super) fn enter(&mut self, fan: &str, name: &str, has_item: bool) {
        let path = self.path_of(&format!("{fan}.{name}"));
        let has_item = has_item || self.blocks[self.here].has_item;
        let around = Some(self.here);
        self.here = self.blocks.len();
        self.blocks.push(Names { path, around, has_item, steps: IndexMap::new() });
    }

    /// How many branches the list that is being read is in.
    pub(super) fn depth(&self) -> usize {
        std::iter::successors(self.blocks[self.here].around, |block| self.blocks[*block].around)
            .count()
    }

    /// Path of a step of the list that is being read.
    pub(super) fn path_of(&self, id: &str) -> String {
        match self.blocks[self.here].path.as_str() {
            "" => id.to_owned(),
            around => format!("{around}.{id}"),
        }
    }

    /// Whether the list that is being read is in a branch.
    pub(super) fn is_inner(&self) -> bool {
        self.here > 0
    }

    /// Whether `item` and `index` can be read in a list.
    pub(super) fn has_item(&self, block: usize) -> bool {
        self.blocks[block].has_item
    }

    /// Where a step of the list that is being read is, if it has one of that id.
    pub(super) fn get(&self, id: &str) -> Option<Position> {
        self.blocks[self.here].steps.get(id).copied()
    }

    pub(super) fn insert(&mut self, id: &str, at: Position) {
        self.blocks[self.here].steps.insert(id.to_owned(), at);
    }

    /// The list with the step that `name` means in `block`: one of its own steps or of a list around
    /// it, else one with this path.
    pub(super) fn find(&self, name: &str, block: usize) -> Option<usize> {
        let mut around = std::iter::successors(Some(block), |block| self.blocks[*block].around);
        let has = |block: &usize| self.blocks[*block].steps.contains_key(name);
        around.find(has).or_else(|| self.at_path(name, |declared, branch| declared == branch))
    }

    /// The list with the step whose output `name` means in `block`. That of an item is named by its
    /// index.
    pub(super) fn find_output(&self, name: &str, block: usize) -> Option<usize> {
        self.find(name, block).or_else(|| self.at_path(name, is_path))
    }

    fn at_path(&self, path: &str, is: impl Fn(&str, &str) -> bool) -> Option<usize> {
        let (branch, id) = path.rsplit_once('.')?;
        let holds = |names: &Names| is(&names.path, branch) && names.steps.contains_key(id);
        self.blocks.iter().position(holds)
    }

    /// A step goes before a well-known name: a file may have a step called `notify_rollback`.
    pub(super) fn resolve(&self, name: &str) -> Option<Target> {
        if self.get(name).is_some() {
            return Some(Target::Step(name.to_owned()));
        }
        if self.is_inner() {
            let end = BRANCH_ENDS.into_iter().find(|(known, _)| *known == name);
            return end.map(|(name, outcome)| Target::End(End { name: name.to_owned(), outcome }));
        }
        let outcome = || trigger_outcome(name);
        let trigger = || {
            let known = self.triggers.iter().any(|trigger| trigger == name);
            known.then(|| End { name: name.to_owned(), outcome: outcome() })
        };
        end(name).or_else(trigger).map(Target::End)
    }

    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let steps = self.blocks[self.here].steps.keys().map(String::as_str);
        if self.is_inner() {
            return nearest(name, steps.chain(BRANCH_ENDS.iter().map(|(name, _)| *name)));
        }
        let triggers = self.triggers.iter().map(String::as_str);
        nearest(name, steps.chain(ENDS.iter().map(|(name, _)| *name)).chain(triggers))
    }

    pub(super) fn nearest_step(&self, name: &str, block: usize) -> Option<String> {
        let around = std::iter::successors(Some(block), |block| self.blocks[*block].around);
        let own = around.flat_map(|block| self.blocks[block].steps.keys().cloned());
        let inner = self
            .blocks
            .iter()
            .skip(1)
            .flat_map(|names| names.steps.keys().map(|id| format!("{}.{id}", names.path)));
        let candidates: Vec<String> = own.chain(inner).collect();
        nearest(name, candidates.iter().map(String::as_str))
    }
}

/// Whether `path` names the branch at `declared`, where a `*` stands for any index.
fn is_path(declared: &str, path: &str) -> bool {
    let is_index = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mut declared = declared.split('.');
    let mut given = path.split('.');
    loop {
        match (declared.next(), given.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (a == ANY_ITEM && is_index(b)) => {}
            _ => return false,
        }
    }
}

/// A trigger that is not well known tells by its name what it announces.
fn trigger_outcome(name: &str) -> Outcome {
    if name.contains("rollback") {
        Outcome::RolledBack
    } else if name.contains("success") || name.contains("complete") {
        Outcome::Completed
    } else {
        Outcome::Failed
    }
}
