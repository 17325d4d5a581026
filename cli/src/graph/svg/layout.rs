//! Where everything goes. One step a row, in file order, so that the drawing reads like the file:
//!
//! * a link to the next row is an arrow down,
//! * a link to any other step runs through a lane on the left; all that lead to one step share one,
//! * a link to a virtual target goes right, to a target of its own.
//!
//! No line can cross a step, however many there are, and equal files give equal drawings.

use super::super::{Graph, Kind, Link, Node, shortened};
use super::rows::{Left, Row, Rows};
use super::shape::inset;
use super::text::width;

pub(super) const MARGIN: f64 = 24.0;
/// Distance of two lines of text in a step.
pub(super) const LINE: f64 = 17.0;
pub(super) const LABEL_SIZE: f64 = 11.0;
pub(super) const ID_SIZE: f64 = 14.0;
const ROW_GAP: f64 = 46.0;
/// Distance of two links on one side of a step.
const SLOT: f64 = 27.0;
const LANE: f64 = 18.0;
/// How far a band reaches beyond its steps, and how much above them for the name of the lock.
const BAND: f64 = 12.0;
const BAND_HEAD: f64 = 22.0;
const MIN_NODE_WIDTH: f64 = 230.0;

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    pub(super) fn right(&self) -> f64 {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub(super) fn middle(&self) -> f64 {
        self.x + self.width / 2.0
    }

    /// Height of one of `count` links on a side, from the top.
    fn slot(&self, slot: usize, count: usize) -> f64 {
        self.y + self.height / 2.0 + SLOT * (number(slot) - (number(count) - 1.0) / 2.0)
    }
}

/// A line with its label.
pub(super) struct Line<'g> {
    pub(super) link: &'g Link,
    pub(super) points: Vec<(f64, f64)>,
    /// It ends at its target; otherwise where it joins another line that does.
    pub(super) arrives: bool,
    pub(super) label_at: (f64, f64),
    pub(super) anchor: Anchor,
}

/// Which end of a label is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    End,
}

/// Consecutive rows under one lock.
pub(super) struct Band<'g> {
    pub(super) lock: &'g str,
    /// Bands of the same lock have the same.
    pub(super) colour: usize,
    pub(super) area: Area,
}

/// The drawing in coordinates.
pub(super) struct Layout<'g> {
    pub(super) nodes: Vec<Area>,
    pub(super) lines: Vec<Line<'g>>,
    /// A virtual target for all lines that lead to it from one step.
    pub(super) ends: Vec<(Area, &'g Link)>,
    pub(super) bands: Vec<Band<'g>>,
    /// Everything is left of this and above that.
    pub(super) right: f64,
    pub(super) foot: f64,
}

/// Where the columns are.
struct Columns {
    node_x: f64,
    node_width: f64,
    first_lane_x: f64,
    ends_x: f64,
}

impl Columns {
    fn of(graph: &Graph, rows: &Rows<'_>) -> Self {
        let left = rows.rows.iter().flat_map(|row| &row.left);
        let left = left.filter_map(|left| match left {
            Left::Out(link, _) => Some(*link),
            Left::In(_) => None,
        });
        let left_labels = widest(left);
        let right_labels = widest(rows.rows.iter().flat_map(|row| row.right.iter().copied()));
        let node_width = graph.nodes.iter().map(node_width).fold(MIN_NODE_WIDTH, f64::max);
        let lanes = rows.lane_count();
        let room = if lanes == 0 { 0.0 } else { LANE * number(lanes) + left_labels + 16.0 };
        let node_x = MARGIN + room + BAND;
        Self {
            node_x,
            node_width,
            first_lane_x: node_x - BAND - left_labels - 16.0,
            ends_x: node_x + node_width + BAND + right_labels + 30.0,
        }
    }

    fn lane_x(&self, lane: usize) -> f64 {
        self.first_lane_x - LANE * number(lane)
    }
}

/// Lays the steps out below `top`.
pub(super) fn layout(graph: &Graph, top: f64) -> Layout<'_> {
    let rows = Rows::of(graph);
    let columns = Columns::of(graph, &rows);
    let (nodes, bands) = stack(graph, &rows, &columns, top);
    let mut lines = Vec::new();
    let mut ends: Vec<(Area, &Link)> = Vec::new();
    for (n, row) in rows.rows.iter().enumerate() {
        let area = nodes[n];
        for (slot, link) in row.right.iter().enumerate() {
            let y = area.slot(slot, row.right.len());
            let start = area.right() - inset(graph.nodes[n].kind, &area, y);
            lines.push(Line {
                link,
                points: vec![(start, y), (columns.ends_x, y)],
                arrives: true,
                label_at: (area.right() + BAND + 8.0, y - 5.0),
                anchor: Anchor::Start,
            });
            match ends.last_mut() {
                Some((end, other)) if is_beside(link, other) => end.height += SLOT,
                _ => ends.push((end(link, columns.ends_x, y), *link)),
            }
        }
        lines.extend(down(&area, nodes.get(n + 1), row));
        for (slot, left) in row.left.iter().enumerate() {
            let Left::Out(link, key) = left else { continue };
            let at = |n: usize, slot: usize| {
                let y = nodes[n].slot(slot, rows.rows[n].left.len());
                (nodes[n].x + inset(graph.nodes[n].kind, &nodes[n], y), y)
            };
            let (start, end) = (at(n, slot), at(key.to, rows.rows[key.to].arrival(*key)));
            let x = columns.lane_x(rows.lanes[key]);
            // The others join a line that arrives.
            let arrives = rows.is_outermost(n, *key);
            let points = [start, (x, start.1), (x, end.1), end];
            lines.push(Line {
                link,
                points: points[..if arrives { 4 } else { 2 }].to_vec(),
                arrives,
                label_at: (area.x - BAND - 5.0, start.1 - 5.0),
                anchor: Anchor::End,
            });
        }
    }
    let right = ends.iter().map(|(area, _)| area.right());
    let right = right.fold(columns.node_x + columns.node_width + BAND, f64::max);
    let foot = nodes.last().map_or(top, Area::bottom) + BAND;
    Layout { nodes, lines, ends, bands, right, foot }
}

/// The steps under each other, and the bands behind them.
fn stack<'g>(
    graph: &'g Graph,
    rows: &Rows<'_>,
    columns: &Columns,
    top: f64,
) -> (Vec<Area>, Vec<Band<'g>>) {
    let mut nodes: Vec<Area> = Vec::new();
    let mut bands: Vec<Band<'_>> = Vec::new();
    let mut locks: Vec<&str> = Vec::new();
    let mut y = top;
    for (n, node) in graph.nodes.iter().enumerate() {
        let goes_on = n > 0 && graph.nodes[n - 1].lock == node.lock;
        let begins = node.lock.is_some() && !goes_on;
        if begins {
            y += BAND_HEAD;
        }
        let row = &rows.rows[n];
        let slots = row.left.len().max(row.right.len());
        let height = node_height(node).max(SLOT * number(slots) + 8.0);
        let area = Area { x: columns.node_x, y, width: columns.node_width, height };
        nodes.push(area);
        y = area.bottom() + ROW_GAP;
        let Some(lock) = node.lock.as_deref() else { continue };
        if begins {
            let colour = locks.iter().position(|known| *known == lock).unwrap_or_else(|| {
                locks.push(lock);
                locks.len() - 1
            });
            let (x, y) = (area.x - BAND, area.y - BAND_HEAD - 4.0);
            let area = Area { x, y, width: area.width + 2.0 * BAND, height: 0.0 };
            bands.push(Band { lock, colour, area });
        }
        if let Some(band) = bands.last_mut() {
            band.area.height = area.bottom() + BAND - band.area.y;
        }
    }
    (nodes, bands)
}

/// Arrows to the next row: the answers', and beside them the failures'.
fn down<'g>(area: &Area, below: Option<&Area>, row: &Row<'g>) -> Vec<Line<'g>> {
    let Some(below) = below else { return Vec::new() };
    let count = row.down.len();
    let line = |(n, link): (usize, &&'g Link)| {
        let x = area.middle() + 36.0 * (number(n) - number(count - 1) / 2.0);
        // Of two, the first has its label on the left.
        let (x_of_label, anchor) =
            if n + 1 < count { (x - 8.0, Anchor::End) } else { (x + 8.0, Anchor::Start) };
        Line {
            link,
            points: vec![(x, area.bottom()), (x, below.y)],
            arrives: true,
            label_at: (x_of_label, area.bottom() + 25.0),
            anchor,
        }
    };
    row.down.iter().enumerate().map(line).collect()
}

/// The virtual target of one link.
fn end(link: &Link, x: f64, y: f64) -> Area {
    let name = link.to.end_name().unwrap_or_default();
    Area { x, y: y - 11.0, width: width(name, LABEL_SIZE) + 24.0, height: 22.0 }
}

/// Whether `other` leads from the same step to the same virtual target.
fn is_beside(link: &Link, other: &Link) -> bool {
    other.from == link.from && other.to == link.to
}

fn node_width(node: &Node) -> f64 {
    let lines = node.lines.iter().map(|line| width(&shortened(line), LABEL_SIZE));
    let text = lines.fold(width(&node.id, ID_SIZE), f64::max);
    // The sides of a condition and of an approval are slanted.
    let slant = if matches!(node.kind, Kind::Condition | Kind::Approval) { 36.0 } else { 0.0 };
    text + 44.0 + slant
}

fn node_height(node: &Node) -> f64 {
    38.0 + LINE * number(node.lines.len())
}

fn widest<'g>(links: impl Iterator<Item = &'g Link>) -> f64 {
    links.map(|link| width(&link.label(), LABEL_SIZE)).fold(0.0, f64::max)
}

/// A small count as a coordinate.
#[expect(clippy::cast_precision_loss, reason = "a file has at most a thousand steps")]
fn number(count: usize) -> f64 {
    count as f64
}
