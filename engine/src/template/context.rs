//! What every part of the loader shares: the findings, the names of the file, and the way back from
//! a piece of text to its place in the file.

use crate::expr::Path;
use crate::yaml::{Kind, Node};

use super::finding::Findings;
use super::model::Position;
use super::target::Targets;

/// One load.
pub(super) struct Context<'n> {
    /// Name of the file, without the folders it may be in.
    pub(super) file: String,
    pub(super) findings: Findings,
    pub(super) targets: Targets,
    /// Every path read by an expression, for the check of its names.
    pub(super) references: Vec<Reference>,
    /// Steps read so far, those in branches included.
    pub(super) steps_read: usize,
    /// A step could not be read: what the graph looks like is not known.
    pub(super) incomplete: bool,
    source: &'n str,
    line_starts: Vec<usize>,
}

/// A path in an expression.
pub(super) struct Reference {
    pub(super) root: String,
    /// The first name below the root.
    pub(super) name: Option<String>,
    /// Byte offset in the file.
    pub(super) offset: usize,
    /// In a condition an unknown name makes the answer always false.
    pub(super) in_condition: bool,
    /// List of steps it is in.
    pub(super) block: usize,
}

impl<'n> Context<'n> {
    pub(super) fn new(file: &str, source: &'n str) -> Self {
        let breaks = source.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            file: file.rsplit(['/', '\\']).next().unwrap_or(file).to_owned(),
            findings: Findings::new(file),
            targets: Targets::default(),
            references: Vec::new(),
            steps_read: 0,
            incomplete: false,
            source,
            line_starts: std::iter::once(0).chain(breaks).collect(),
        }
    }

    /// Turns a byte offset in the file into a place.
    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let column = self.source.get(start..offset).map_or(0, |before| before.chars().count());
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Position { line: number(line), column: number(column + 1) }
    }

    pub(super) fn is_after_minus(&self, offset: usize) -> bool {
        self.source.get(..offset).is_some_and(|before| before.ends_with('-'))
    }

    pub(super) fn refer(&mut self, path: &Path, offset: usize, in_condition: bool) {
        self.references.push(Reference {
            root: path.root.clone(),
            name: path.segments.first().cloned(),
            offset,
            in_condition,
            block: self.targets.here(),
        });
    }

    /// Maps offsets in the value of a scalar to offsets in the file.
    pub(super) fn locator<'t>(&self, node: &Node, value: &'t str) -> Locator<'t>
    where
        'n: 't,
    {
        let raw = self.source.get(node.source.clone()).unwrap_or_default();
        let opens = |text: &str| text.match_indices("{{").map(|(at, _)| at).collect();
        Locator {
            value,
            raw,
            start: node.source.start,
            value_opens: opens(value),
            raw_opens: opens(raw),
        }
    }
}

/// Where the text of one scalar stands in the file. Quotes, folding and indentation change it on its
/// way into a value, so the `{{` serve as landmarks: they come in the same order in both.
pub(super) struct Locator<'t> {
    value: &'t str,
    raw: &'t str,
    start: usize,
    value_opens: Vec<usize>,
    raw_opens: Vec<usize>,
}

impl Locator<'_> {
    /// The offset in the file of an offset in the value, or of the closest landmark before it.
    pub(super) fn locate(&self, offset: usize) -> usize {
        let before = self.value_opens.partition_point(|open| *open <= offset);
        let landmark = before.checked_sub(1).and_then(|nth| {
            let same_count = self.value_opens.len() == self.raw_opens.len();
            same_count.then(|| (self.value_opens[nth], self.raw_opens[nth]))
        });
        let Some((value_open, raw_open)) = landmark else { return self.locate_start(offset) };
        let between = self.value.get(value_open..offset).unwrap_or_default();
        let unchanged = self.raw.get(raw_open..).is_some_and(|raw| raw.starts_with(between));
        self.start + raw_open + if unchanged { between.len() } else { 0 }
    }

    /// Without a landmark: exact as long as the value stands in the file as it is.
    fn locate_start(&self, offset: usize) -> usize {
        let before = self.value.get(..offset).unwrap_or_default();
        let value_at = self.raw.find(self.value).map(|at| at + before.len());
        self.start + value_at.unwrap_or(0)
    }
}

/// The text of a scalar, whatever it stands for.
pub(super) fn scalar_text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}
