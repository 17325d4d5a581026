//! Graphviz source, for those who lay out and style it themselves.

use std::fmt::Write as _;

use sluice_engine::template::Outcome;

use super::colour::{self, ANSWER, FAILURE, INK};
use super::{Graph, Kind, Link, Node, Place, outcome_words, shortened};

/// One `digraph`.
pub(crate) fn dot(graph: &Graph) -> String {
    let mut out = String::new();
    let title = quoted(&format!("{}\n{}", graph.title, graph.description));
    let lines = [
        format!("digraph {} {{", quoted(&graph.file)),
        format!(
            "  graph [label={title}, labelloc=t, rankdir=TB, fontname=\"sans-serif\", nodesep=0.5, ranksep=0.6];"
        ),
        "  node [fontname=\"sans-serif\", fontsize=11, style=filled, margin=\"0.2,0.1\"];"
            .to_owned(),
        format!(
            "  edge [fontname=\"sans-serif\", fontsize=9, color=\"{ANSWER}\", fontcolor=\"{ANSWER}\"];"
        ),
        format!("  start [shape=circle, label=\"\", width=0.15, fillcolor=\"{INK}\"];"),
    ];
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    for node in &graph.nodes {
        let _ = writeln!(out, "  {};", step(node));
    }
    for (name, outcome) in graph.ends() {
        let _ = writeln!(out, "  {};", end(name, outcome));
    }
    if let Some(first) = graph.nodes.first() {
        let _ = writeln!(out, "  start -> {};", quoted(&step_name(first)));
    }
    for link in &graph.links {
        let _ = writeln!(out, "  {};", edge(graph, link));
    }
    out.push_str("}\n");
    out
}

fn step(node: &Node) -> String {
    let shape = match node.kind {
        Kind::Agent => "box, style=\"rounded,filled\"",
        Kind::Rollback => "larrow",
        Kind::Approval => "octagon, penwidth=3",
        Kind::Condition => "hexagon",
        Kind::Message => "note",
        Kind::Wait => "box, style=\"rounded,dashed,filled\"",
        Kind::Branches => "box3d",
        Kind::Child => "component",
        Kind::Terminal => "box, peripheries=2, style=\"rounded,filled\"",
    };
    let paint = colour::of_kind(node.kind);
    let mut label = node.id.clone();
    for line in
        node.lines.iter().cloned().chain(node.lock.iter().map(|lock| format!("lock {lock}")))
    {
        label += &format!("\n{}", shortened(&line));
    }
    let (name, label, fill, line) =
        (quoted(&step_name(node)), quoted(&label), paint.fill, paint.line);
    format!("{name} [label={label}, shape={shape}, fillcolor=\"{fill}\", color=\"{line}\"]")
}

fn end(name: &str, outcome: Outcome) -> String {
    let colour = colour::of_outcome(outcome);
    let label = quoted(&format!("{name}\n{}", outcome_words(outcome)));
    format!(
        "{} [label={label}, shape=box, style=\"rounded,filled\", fontcolor=white, fillcolor=\"{colour}\", color=\"{colour}\"]",
        quoted(&end_name(name))
    )
}

fn edge(graph: &Graph, link: &Link) -> String {
    let from = step_name(&graph.nodes[link.from]);
    let to = match &link.to {
        Place::Node(to) => step_name(&graph.nodes[*to]),
        Place::End { name, .. } => end_name(name),
    };
    let failure = format!(", style=dashed, color=\"{FAILURE}\", fontcolor=\"{FAILURE}\"");
    let style = if link.is_failure() { failure.as_str() } else { "" };
    format!("{} -> {} [label={}{style}]", quoted(&from), quoted(&to), quoted(&link.label()))
}

// A step may have the name of a virtual target.
fn step_name(node: &Node) -> String {
    format!("step {}", node.id)
}

fn end_name(name: &str) -> String {
    format!("end {name}")
}

/// A quoted identifier; a line break in it becomes one in the label.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
