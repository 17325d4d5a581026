//! SVG that stands alone: no script, no style sheet, no font of its own.

mod layout;
mod legend;
mod rows;
mod shape;
mod text;

use std::fmt::Write as _;

use sluice_engine::template::Outcome;

use super::colour::{self, ANSWER, FAILURE, INK, QUIET};
use super::{Graph, Kind, Node, Place, outcome_words, shortened};
use layout::{Anchor, Area, Band, ID_SIZE, LABEL_SIZE, LINE, Layout, Line, MARGIN};
use legend::Legend;
use text::{escaped, width};

/// Writing to a string cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { let _ = writeln!($out, $($text)*); };
}
const FONT: &str = "system-ui, 'Segoe UI', 'DejaVu Sans', Verdana, sans-serif";
const HEAD: f64 = 96.0;
const MIN_WIDTH: f64 = 640.0;
const LONGEST_DESCRIPTION: usize = 110;

/// The drawing as one document.
pub(crate) fn svg(graph: &Graph) -> String {
    let layout = layout::layout(graph, HEAD + 34.0);
    let description: String = graph.description.chars().take(LONGEST_DESCRIPTION).collect();
    let head = width(&graph.title, 20.0).max(width(&description, 12.0)) + 2.0 * MARGIN;
    let width = (layout.right + MARGIN).max(head).max(MIN_WIDTH);
    let legend = Legend::of(graph, width);
    let height = layout.foot + legend.height() + 2.0 * MARGIN;
    let mut out = String::new();
    opening(&mut out, graph, (width, height));
    heading(&mut out, graph, &description);
    layout.bands.iter().for_each(|band| lock(&mut out, band));
    start(&mut out, &layout);
    layout.lines.iter().for_each(|line| connection(&mut out, line));
    for (node, area) in graph.nodes.iter().zip(&layout.nodes) {
        step(&mut out, node, area);
    }
    for (area, link) in &layout.ends {
        if let Place::End { name, outcome } = &link.to {
            end(&mut out, name, *outcome, area);
        }
    }
    // Above the lines, so that none runs through a word.
    layout.lines.iter().for_each(|line| label(&mut out, line));
    layout.bands.iter().for_each(|band| lock_name(&mut out, band));
    legend.draw(&mut out, layout.foot + MARGIN / 2.0);
    out.push_str("</svg>\n");
    out
}

fn opening(out: &mut String, graph: &Graph, (width, height): (f64, f64)) {
    put!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-labelledby="title description" font-family="{FONT}">"#
    );
    put!(out, r#"<title id="title">{}</title>"#, escaped(&graph.title));
    put!(out, r#"<desc id="description">{}</desc>"#, escaped(&graph.in_words()));
    for (name, colour) in [("answer", ANSWER), ("failure", FAILURE)] {
        put!(
            out,
            r#"<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 10 5 0 10z" fill="{colour}"/></marker>"#
        );
    }
    put!(out, r##"<rect width="{width:.0}" height="{height:.0}" fill="#ffffff"/>"##);
}

fn heading(out: &mut String, graph: &Graph, description: &str) {
    let whole = description.len() == graph.description.len();
    let more = if whole { "" } else { "…" };
    words(
        out,
        &graph.title,
        (MARGIN, 42.0),
        &format!(r#"font-size="20" font-weight="600" fill="{INK}""#),
    );
    let quiet = format!(r#"font-size="12" fill="{QUIET}""#);
    words(out, &format!("{description}{more}"), (MARGIN, 64.0), &quiet);
    words(out, &graph.file, (MARGIN, 83.0), &quiet);
}

fn words(out: &mut String, text: &str, (x, y): (f64, f64), style: &str) {
    put!(out, r#"<text x="{x:.1}" y="{y:.1}" {style}>{}</text>"#, escaped(text));
}

/// A dot, and an arrow from it to the first step.
fn start(out: &mut String, layout: &Layout<'_>) {
    let Some(first) = layout.nodes.first() else { return };
    let (x, y) = (first.middle(), HEAD + 6.0);
    put!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="6" fill="{INK}"/>"#);
    put!(
        out,
        r#"<path d="M{x:.1} {y:.1}V{:.1}" stroke="{ANSWER}" stroke-width="1.6" marker-end="url(#answer)"/>"#,
        first.y
    );
}

/// A band behind the steps that run under one lock, with its name.
fn lock(out: &mut String, band: &Band<'_>) {
    let (paint, area) = (colour::of_lock(band.colour), band.area);
    let (fill, line) = (paint.fill, paint.line);
    put!(
        out,
        r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="10" fill="{fill}" stroke="{line}" stroke-dasharray="2 3"/>"#,
        area.x,
        area.y,
        area.width,
        area.height
    );
}

fn lock_name(out: &mut String, band: &Band<'_>) {
    let (paint, area) = (colour::of_lock(band.colour), band.area);
    let (fill, line) = (paint.fill, paint.line);
    let (x, y) = (area.x + 10.0, area.y + 6.0);
    put!(out, "<g><title>Lock: {}</title>", escaped(band.lock));
    put!(
        out,
        r#"<path d="M{:.1} {:.1}v-2.5a3 3 0 0 1 6 0v2.5" fill="none" stroke="{line}" stroke-width="1.5"/><rect x="{x:.1}" y="{:.1}" width="10" height="7" rx="1.5" fill="{line}"/>"#,
        x + 2.0,
        y + 5.0,
        y + 4.5
    );
    let style = format!(
        r#"font-size="{LABEL_SIZE}" font-weight="600" fill="{line}" stroke="{fill}" stroke-width="4" stroke-linejoin="round" paint-order="stroke""#
    );
    words(out, &shortened(band.lock), (x + 15.0, y + 10.5), &style);
    out.push_str("</g>\n");
}

fn connection(out: &mut String, line: &Line<'_>) {
    let (name, colour, dash) = if line.link.is_failure() {
        ("failure", FAILURE, r#" stroke-dasharray="5 4""#)
    } else {
        ("answer", ANSWER, "")
    };
    let path = shape::path(&line.points);
    let arrow = if line.arrives { format!(r#" marker-end="url(#{name})""#) } else { String::new() };
    put!(
        out,
        r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}{arrow}/>"#
    );
}

fn label(out: &mut String, line: &Line<'_>) {
    let colour = if line.link.is_failure() { FAILURE } else { ANSWER };
    let anchor = if line.anchor == Anchor::End { r#" text-anchor="end""# } else { "" };
    let style = format!(
        r##"font-size="{LABEL_SIZE}"{anchor} fill="{colour}" stroke="#ffffff" stroke-width="3" stroke-linejoin="round" paint-order="stroke""##
    );
    words(out, &line.link.label(), line.label_at, &style);
}

fn step(out: &mut String, node: &Node, area: &Area) {
    let paint = colour::of_kind(node.kind);
    put!(out, "<g><title>{}</title>", escaped(&format!("{}: {}", node.id, node.lines.join("; "))));
    // A person's decision is what a reader looks for first.
    let strong = if node.kind == Kind::Approval { 3.0 } else { 1.5 };
    put!(out, "{}", shape::outline(node.kind, area, paint, strong));
    let height = ID_SIZE + LINE * f64::from(u8::try_from(node.lines.len()).unwrap_or(u8::MAX));
    let (x, mut y) = (area.middle(), area.y + (area.height - height) / 2.0 + ID_SIZE - 2.0);
    let style =
        format!(r#"font-size="{ID_SIZE}" font-weight="600" text-anchor="middle" fill="{INK}""#);
    words(out, &node.id, (x, y), &style);
    let style = format!(r#"font-size="{LABEL_SIZE}" text-anchor="middle" fill="{QUIET}""#);
    for line in &node.lines {
        y += LINE;
        words(out, &shortened(line), (x, y), &style);
    }
    out.push_str("</g>\n");
}

fn end(out: &mut String, name: &str, outcome: Outcome, area: &Area) {
    put!(out, "<g><title>{}: {}</title>", escaped(name), outcome_words(outcome));
    let colour = colour::of_outcome(outcome);
    put!(out, "{}", shape::pill(area, colour));
    let style = format!(
        r##"font-size="{LABEL_SIZE}" font-weight="600" text-anchor="middle" fill="#ffffff""##
    );
    words(out, name, (area.middle(), area.y + area.height / 2.0 + 4.0), &style);
    out.push_str("</g>\n");
}

#[cfg(test)]
mod tests;
