//! A run as bars of text, one for each visit of a step.

use sluice_proto::timestamp::Timestamp;

use crate::progress::{History, Segment, Stage, What, duration};

const WIDTH: usize = 44;

/// The bars under a heading, and what they mean.
pub(super) fn lines(history: &History) -> Vec<String> {
    let Some((from, to)) = span(history) else { return Vec::new() };
    let names = history.stages.iter().map(|stage| stage.step.chars().count());
    let width = names.max().unwrap_or_default();
    let whole = duration(to.ms_since(from));
    let heading = format!("  {:width$}  {:<w$}", "", "0 s", w = WIDTH.saturating_sub(whole.len()));
    let mut lines = vec![format!("{heading}{whole}")];
    for stage in &history.stages {
        let (bar, took) = (bar(stage, from, to), duration(stage.elapsed_ms(to)));
        let who = who(stage);
        lines.push(format!("  {:width$}  {bar}  {took:>8}  {who}", stage.step));
    }
    lines.push(format!("  {:width$}  █ work   ░ waits for a lock   ▒ waits for a person", ""));
    lines
}

fn span(history: &History) -> Option<(Timestamp, Timestamp)> {
    let ends = history.stages.iter().flat_map(|stage| &stage.segments).filter_map(|part| part.to);
    let last = history.ended.map(|(at, _)| at).or_else(|| ends.max());
    Some((history.started?, last?))
}

fn bar(stage: &Stage, from: Timestamp, to: Timestamp) -> String {
    let mut cells = vec![' '; WIDTH];
    for segment in &stage.segments {
        let (first, last) = cells_of(segment, from, to);
        cells[first..=last].fill(sign(&segment.what));
    }
    cells.into_iter().collect()
}

/// First and last cell of a stretch; even the shortest has one.
fn cells_of(segment: &Segment, from: Timestamp, to: Timestamp) -> (usize, usize) {
    let whole = to.ms_since(from).max(1);
    let cell = |at: Timestamp| {
        let cells = at.ms_since(from).saturating_mul(WIDTH as u64) / whole;
        usize::try_from(cells).unwrap_or(WIDTH).min(WIDTH)
    };
    let first = cell(segment.from).min(WIDTH - 1);
    let last = cell(segment.to.unwrap_or(to)).saturating_sub(1).max(first);
    (first, last)
}

fn sign(what: &What) -> char {
    match what {
        What::Work => '█',
        What::Lock(_) => '░',
        What::Person(_) => '▒',
    }
}

/// Who worked, or decided, and what was waited for.
fn who(stage: &Stage) -> String {
    let waited = stage.segments.iter().filter_map(|segment| {
        let ms = segment.to?.ms_since(segment.from);
        match &segment.what {
            What::Work => None,
            What::Lock(name) => Some(format!("{} for {name}", duration(ms))),
            What::Person(role) => Some(format!("{} for {role}", duration(ms))),
        }
    });
    let waited = waited.collect::<Vec<_>>().join(", ");
    let sign = match stage.ended_well {
        Some(false) => "✗ ",
        _ => "",
    };
    match (stage.who.as_str(), waited.as_str()) {
        ("", waited) => format!("{sign}{}, {waited}", stage.remark),
        (who, "") => format!("{sign}{who}"),
        (who, waited) => format!("{sign}{who}, waited {waited}"),
    }
}
