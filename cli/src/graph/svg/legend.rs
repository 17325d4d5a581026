//! What the shapes and colours mean, for those that occur.

use std::fmt::Write as _;

use sluice_engine::template::Outcome;

use super::super::colour::{self, ANSWER, FAILURE, QUIET};
use super::super::{Graph, Kind, outcome_words};
use super::layout::{Area, LABEL_SIZE, MARGIN};
use super::shape;
use super::text::width;
use super::words;

pub(super) const ROW: f64 = 26.0;
/// From a sample to the next one, without the words between.
const GAP: f64 = 46.0;
const OUTCOMES: [Outcome; 5] =
    [Outcome::Completed, Outcome::Paused, Outcome::RolledBack, Outcome::Failed, Outcome::Cancelled];

enum Sample {
    Step(Kind),
    End(Outcome),
    /// And whether it is that of a failure.
    Line(bool),
}

impl Sample {
    fn words(&self) -> &'static str {
        match self {
            Self::Step(kind) => kind.words(),
            Self::End(outcome) => outcome_words(*outcome),
            Self::Line(false) => "answer",
            Self::Line(true) => "failure",
        }
    }
}

/// Samples in rows, none wider than the page.
pub(super) struct Legend {
    rows: Vec<Vec<(f64, Sample)>>,
}

impl Legend {
    pub(super) fn of(graph: &Graph, page_width: f64) -> Self {
        let has_kind = |kind: &Kind| graph.nodes.iter().any(|node| node.kind == *kind);
        let ends = graph.ends();
        let has_end = |outcome: &Outcome| ends.iter().any(|(_, other)| other == outcome);
        let has_line =
            |failure: &bool| graph.links.iter().any(|link| link.is_failure() == *failure);
        let steps = Kind::ALL.into_iter().filter(has_kind).map(Sample::Step);
        let rest = OUTCOMES.into_iter().filter(has_end).map(Sample::End);
        let lines = [false, true].into_iter().filter(has_line).map(Sample::Line);
        let mut rows = Vec::new();
        fill(&mut rows, steps, page_width);
        fill(&mut rows, rest.chain(lines), page_width);
        Self { rows }
    }

    pub(super) fn height(&self) -> f64 {
        self.rows.iter().map(|_| ROW).sum()
    }

    pub(super) fn draw(&self, out: &mut String, top: f64) {
        let mut y = top;
        for row in &self.rows {
            y += ROW;
            for (x, sample) in row {
                draw(out, sample, *x, y);
            }
        }
    }
}

/// Begins a row, and others where it is full.
fn fill(rows: &mut Vec<Vec<(f64, Sample)>>, samples: impl Iterator<Item = Sample>, page: f64) {
    let mut x = page;
    for sample in samples {
        let taken = GAP + width(sample.words(), LABEL_SIZE);
        if x + taken > page - MARGIN {
            rows.push(Vec::new());
            x = MARGIN;
        }
        if let Some(row) = rows.last_mut() {
            row.push((x, sample));
        }
        x += taken;
    }
}

fn draw(out: &mut String, sample: &Sample, x: f64, y: f64) {
    let area = Area { x, y: y - 11.0, width: 24.0, height: 14.0 };
    let drawn = match sample {
        Sample::Step(kind) => shape::outline(*kind, &area, colour::of_kind(*kind), 1.5),
        Sample::End(outcome) => shape::pill(&area, colour::of_outcome(*outcome)),
        Sample::Line(failure) => {
            let (colour, dash) =
                if *failure { (FAILURE, r#" stroke-dasharray="5 4""#) } else { (ANSWER, "") };
            format!(
                r#"<path d="M{x:.1} {:.1}h26" stroke="{colour}" stroke-width="1.6"{dash} marker-end="url(#{})"/>"#,
                y - 4.0,
                sample.words()
            )
        }
    };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{drawn}");
    words(
        out,
        sample.words(),
        (x + 32.0, y),
        &format!(r#"font-size="{LABEL_SIZE}" fill="{QUIET}""#),
    );
}
