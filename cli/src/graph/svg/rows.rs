//! Which side of its row each link leaves, and which lane it takes. Whole numbers only.

use std::collections::BTreeMap;

use super::super::{Graph, Link, Place};

/// The links that share a lane: those to one step, failures apart from answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub(super) to: usize,
    failed: bool,
}

/// One end of a way through a lane.
pub(super) enum Left<'g> {
    Out(&'g Link, LaneKey),
    In(LaneKey),
}

/// Everything that leaves or reaches one step, from top to bottom on each side.
#[derive(Default)]
pub(super) struct Row<'g> {
    pub(super) left: Vec<Left<'g>>,
    /// To virtual targets.
    pub(super) right: Vec<&'g Link>,
    /// To the next row.
    pub(super) down: Vec<&'g Link>,
}

impl Row<'_> {
    /// The slot on the left at which a lane arrives.
    pub(super) fn arrival(&self, key: LaneKey) -> usize {
        let arrives = |left: &Left<'_>| matches!(left, Left::In(other) if *other == key);
        self.left.iter().position(arrives).unwrap_or_default()
    }
}

/// First and last row of a lane's line.
type Span = (usize, usize);

pub(super) struct Rows<'g> {
    pub(super) rows: Vec<Row<'g>>,
    /// Lane of each key; 0 is next to the steps.
    pub(super) lanes: BTreeMap<LaneKey, usize>,
    spans: BTreeMap<LaneKey, Span>,
}

impl<'g> Rows<'g> {
    pub(super) fn of(graph: &'g Graph) -> Self {
        let mut rows: Vec<Row<'_>> = graph.nodes.iter().map(|_| Row::default()).collect();
        let mut spans: BTreeMap<LaneKey, Span> = BTreeMap::new();
        for link in &graph.links {
            match link.to {
                Place::End { .. } => rows[link.from].right.push(link),
                Place::Node(to) if to == link.from + 1 => rows[link.from].down.push(link),
                Place::Node(to) => {
                    let key = LaneKey { to, failed: link.is_failure() };
                    rows[link.from].left.push(Left::Out(link, key));
                    let span = spans.entry(key).or_insert((to, to));
                    *span = (span.0.min(link.from), span.1.max(link.from));
                }
            }
        }
        for key in spans.keys() {
            rows[key.to].left.push(Left::In(*key));
        }
        // Those to one target are beside each other.
        for row in &mut rows {
            let first =
                |link: &Link, all: &[&Link]| all.iter().position(|other| other.to == link.to);
            let all = row.right.clone();
            row.right.sort_by_key(|link| first(link, &all));
        }
        let lanes = lanes(&spans);
        for (n, row) in rows.iter_mut().enumerate() {
            row.left.sort_by_key(|left| order(left, n, &spans, &lanes));
        }
        Self { rows, lanes, spans }
    }

    /// Whether no line in this lane comes from further away on the same side.
    pub(super) fn is_outermost(&self, from: usize, key: LaneKey) -> bool {
        let (first, last) = self.spans[&key];
        from == first || from == last
    }

    pub(super) fn lane_count(&self) -> usize {
        self.lanes.values().max().map_or(0, |last| last + 1)
    }
}

/// Short ways are inside, and no two ways in one lane meet.
fn lanes(spans: &BTreeMap<LaneKey, Span>) -> BTreeMap<LaneKey, usize> {
    let mut keys: Vec<(&LaneKey, &Span)> = spans.iter().collect();
    keys.sort_by_key(|(key, (first, last))| (last - first, *first, **key));
    let mut taken: Vec<Vec<Span>> = Vec::new();
    let mut lanes = BTreeMap::new();
    for (key, span) in keys {
        let meets = |other: &Span| span.0 <= other.1 && other.0 <= span.1;
        let free = taken.iter().position(|lane| !lane.iter().any(meets));
        let lane = free.unwrap_or(taken.len());
        if free.is_none() {
            taken.push(Vec::new());
        }
        taken[lane].push(*span);
        lanes.insert(*key, lane);
    }
    lanes
}

/// Ways up are above ways down; so sorted, an outer way crosses no inner one at its own step.
fn order(
    left: &Left<'_>,
    row: usize,
    spans: &BTreeMap<LaneKey, Span>,
    lanes: &BTreeMap<LaneKey, usize>,
) -> (bool, isize) {
    let (key, down) = match left {
        Left::Out(_, key) => (key, key.to > row),
        Left::In(key) => (key, spans[key].0 >= row),
    };
    let lane = isize::try_from(lanes[key]).unwrap_or(isize::MAX);
    (down, if down { -lane } else { lane })
}
