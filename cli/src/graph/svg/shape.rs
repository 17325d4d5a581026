//! Outlines and paths.

use std::fmt::Write as _;

use super::super::Kind;
use super::super::colour::Paint;
use super::layout::Area;

const CORNER: f64 = 7.0;
const ROUND: f64 = 11.0;
/// Of a condition.
const MAX_TIP: f64 = 22.0;
/// From the side of a step with branches to the line along it.
const SIDE: f64 = 6.0;
/// From the outline of a child to the frame in it.
const FRAME: f64 = 3.0;

/// The outline that a kind of step has.
pub(super) fn outline(kind: Kind, area: &Area, paint: Paint, stroke: f64) -> String {
    let style = &style(paint.fill, paint.line, stroke);
    let Area { x, y, height, .. } = *area;
    let (right, bottom) = (area.right(), area.bottom());
    let middle = y + height / 2.0;
    let corner = (height / 8.0).min(8.0);
    match kind {
        Kind::Agent => rectangle(area, corner, style),
        Kind::Rollback => rectangle(area, corner, style) + &turning_back(area, paint.line),
        Kind::Approval => {
            let cut = (height / 3.0).min(18.0);
            let points = [
                (x + cut, y),
                (right - cut, y),
                (right, y + cut),
                (right, bottom - cut),
                (right - cut, bottom),
                (x + cut, bottom),
                (x, bottom - cut),
                (x, y + cut),
            ];
            polygon(&points, style)
        }
        Kind::Condition => {
            let tip = (height / 2.0).min(MAX_TIP);
            let points = [
                (x + tip, y),
                (right - tip, y),
                (right, middle),
                (right - tip, bottom),
                (x + tip, bottom),
                (x, middle),
            ];
            polygon(&points, style)
        }
        Kind::Message => {
            // A sheet with a corner turned down.
            let fold = (height / 3.0).min(14.0);
            let points =
                [(x, y), (right - fold, y), (right, y + fold), (right, bottom), (x, bottom)];
            let corner = [(right - fold, y), (right - fold, y + fold), (right, y + fold)];
            polygon(&points, style) + &polygon(&corner, style)
        }
        Kind::Wait => rectangle(area, corner, style) + &clock(area, paint.line),
        Kind::Branches => {
            // A line along either side: there is more in it.
            let (left, end) = (x + SIDE, right - SIDE);
            let inner = [(left, y), (end, y), (end, bottom), (left, bottom)];
            rectangle(area, 0.0, style) + &polygon(&inner, style)
        }
        Kind::Child => {
            // A frame in a frame: a whole drawing of its own.
            let (left, end) = (x + FRAME, right - FRAME);
            let (top, floor) = (y + FRAME, bottom - FRAME);
            let inner = [(left, top), (end, top), (end, floor), (left, floor)];
            rectangle(area, 0.0, style) + &polygon(&inner, style)
        }
        Kind::Terminal => rectangle(area, (height / 2.0).min(ROUND), style),
    }
}

/// How far the outline is from the side of its rectangle at this height.
pub(super) fn inset(kind: Kind, area: &Area, y: f64) -> f64 {
    match kind {
        Kind::Condition => {
            let half = area.height / 2.0;
            half.min(MAX_TIP) * (y - area.y - half).abs() / half
        }
        _ => 0.0,
    }
}

fn style(fill: &str, line: &str, stroke: f64) -> String {
    format!(r#"fill="{fill}" stroke="{line}" stroke-width="{stroke}""#)
}

/// An arrow that turns back, at the left.
fn turning_back(area: &Area, line: &str) -> String {
    let size = (area.height / 4.0).min(10.0);
    let (x, y) = (area.x + size, area.y + area.height / 2.0);
    let half = size / 2.0;
    format!(
        r#"<path d="M{:.1} {:.1}h{size:.1}a{half:.1} {half:.1} 0 0 1 0 {size:.1}h-{half:.1}M{:.1} {:.1}l-{half:.1} {half:.1}l{half:.1} {half:.1}" stroke-linecap="round" {}/>"#,
        x,
        y - half,
        x + half,
        y - size,
        style("none", line, 1.5)
    )
}

/// A clock, at the left.
fn clock(area: &Area, line: &str) -> String {
    let radius = (area.height / 4.0).min(7.0);
    let (x, y) = (area.x + radius + 8.0_f64.min(area.height / 4.0), area.y + area.height / 2.0);
    format!(
        r#"<path d="M{:.1} {y:.1}a{radius:.1} {radius:.1} 0 1 1 0 0.01zM{x:.1} {:.1}V{y:.1}h{:.1}" stroke-linecap="round" {}/>"#,
        x - radius,
        y - radius * 0.6,
        radius * 0.5,
        style("none", line, 1.5)
    )
}

/// A virtual target.
pub(super) fn pill(area: &Area, fill: &str) -> String {
    rectangle(area, (area.height / 2.0).min(ROUND), &format!(r#"fill="{fill}""#))
}

fn rectangle(area: &Area, radius: f64, style: &str) -> String {
    let Area { x, y, width, height } = area;
    format!(
        r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="{radius:.1}" {style}/>"#
    )
}

fn polygon(points: &[(f64, f64)], style: &str) -> String {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!(r#"<polygon points="{}" stroke-linejoin="round" {style}/>"#, points.join(" "))
}

/// A path along these points, its corners rounded.
pub(super) fn path(points: &[(f64, f64)]) -> String {
    let mut out = String::new();
    for (n, &(x, y)) in points.iter().enumerate() {
        let (before, after) = (n.checked_sub(1).map(|n| points[n]), points.get(n + 1));
        let _ = match (before, after) {
            (None, _) => write!(out, "M{x:.1} {y:.1}"),
            (Some(_), None) => write!(out, "L{x:.1} {y:.1}"),
            (Some(before), Some(&after)) => {
                let (from, to) = (towards((x, y), before), towards((x, y), after));
                write!(out, "L{:.1} {:.1}Q{x:.1} {y:.1} {:.1} {:.1}", from.0, from.1, to.0, to.1)
            }
        };
    }
    out
}

/// A point near the corner, in the direction of a neighbour.
fn towards(corner: (f64, f64), neighbour: (f64, f64)) -> (f64, f64) {
    let (x, y) = (neighbour.0 - corner.0, neighbour.1 - corner.1);
    let length = x.hypot(y);
    if length == 0.0 {
        return corner;
    }
    let share = CORNER.min(length / 2.0) / length;
    (corner.0 + x * share, corner.1 + y * share)
}
