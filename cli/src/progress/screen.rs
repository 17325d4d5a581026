//! A run while it happens: a block that is drawn over again on a terminal, a line for each change
//! elsewhere.

use std::io::{self, IsTerminal, Write};

use sluice_proto::timestamp::Timestamp;

use super::history::{History, Stage, What};
use crate::output;

/// Columns where nobody knows how many there are.
const COLUMNS: usize = 100;
const SPINNER: [char; 4] = ['◐', '◓', '◑', '◒'];
const MS_PER_TURN: u64 = 200;

/// Shows one run.
pub(crate) struct Screen {
    /// Every step of the template, in its order.
    steps: Vec<String>,
    is_terminal: bool,
    colours: bool,
    /// Lines of the block that stands there now.
    drawn: usize,
    /// What was said about each visit, where lines are printed.
    said: Vec<String>,
}

impl Screen {
    pub(crate) fn new(steps: Vec<String>) -> Self {
        let (columns, rows) = size();
        // A block that does not fit cannot be drawn over.
        let is_terminal = io::stdout().is_terminal() && rows > steps.len() + 3 && columns > 40;
        let colours = output::has_colours(&io::stdout());
        Self { steps, is_terminal, colours, drawn: 0, said: Vec::new() }
    }

    pub(crate) fn show(&mut self, history: &History, now: Timestamp) {
        if self.is_terminal {
            self.draw(history, now);
        } else {
            self.say(history, now);
        }
    }

    /// What is printed from now on comes below.
    pub(crate) fn finish(&mut self) {
        self.drawn = 0;
    }

    fn draw(&mut self, history: &History, now: Timestamp) {
        let columns = size().0;
        let mut block = String::new();
        if self.drawn > 0 {
            block.push_str(&format!("\u{1b}[{}A", self.drawn));
        }
        let rows = self.rows(history, now);
        for row in &rows {
            let text: String = row.text.chars().take(columns - 1).collect();
            let text = self.coloured(&text, row.colour);
            block.push_str(&format!("\r\u{1b}[2K{text}\n"));
        }
        self.drawn = rows.len();
        let mut out = io::stdout().lock();
        // Whoever closed the terminal does not want to be told.
        let _ = out.write_all(block.as_bytes()).and_then(|()| out.flush());
    }

    fn rows(&self, history: &History, now: Timestamp) -> Vec<Row> {
        let width = self.steps.iter().map(|step| step.chars().count()).max().unwrap_or_default();
        let row = |step: &String| match history.stage(step) {
            Some(stage) => stage_row(stage, width, now),
            None => Row { text: format!("  · {step}"), colour: "2" },
        };
        let mut rows: Vec<Row> = self.steps.iter().map(row).collect();
        rows.push(Row { text: format!("  {}", standing(history, now)), colour: "1" });
        rows
    }

    fn coloured(&self, text: &str, code: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Prints what is new, one line for each change of a step.
    fn say(&mut self, history: &History, now: Timestamp) {
        self.said.resize(history.stages.len(), String::new());
        for (stage, said) in history.stages.iter().zip(&mut self.said) {
            let line = news(stage, now);
            // The time goes on while nothing changes.
            if key(stage) != *said {
                *said = key(stage);
                output::line(line);
            }
        }
    }
}

struct Row {
    text: String,
    colour: &'static str,
}

fn stage_row(stage: &Stage, width: usize, now: Timestamp) -> Row {
    let elapsed_ms = stage.elapsed_ms(now);
    let turn = usize::try_from(now.as_micros().unsigned_abs() / 1_000 / MS_PER_TURN).unwrap_or(0);
    let (sign, colour) = match (stage.ended_well, stage.now()) {
        (Some(true), _) => ('✓', "32"),
        (Some(false), _) => ('✗', "31"),
        (None, Some(What::Lock(_) | What::Person(_))) => ('⏸', "33"),
        (None, _) => (SPINNER[turn % SPINNER.len()], "36"),
    };
    let (step, took) = (&stage.step, duration(elapsed_ms));
    let text = format!("  {sign} {step:width$}  {took:>8}  {:<14}  {}", stage.who, doing(stage));
    Row { text: text.trim_end().to_owned(), colour }
}

/// What a visit does at the moment, or what it came to.
fn doing(stage: &Stage) -> String {
    match stage.now() {
        Some(What::Lock(name)) => format!("waits for the lock {name}"),
        Some(What::Person(role)) => format!("waits for a person: {role}"),
        _ => stage.remark.clone(),
    }
}

/// Changes when there is something to say about the visit.
fn key(stage: &Stage) -> String {
    format!("{:?} {:?} {}", stage.ended_well, stage.now(), stage.remark)
}

fn news(stage: &Stage, now: Timestamp) -> String {
    let (step, who) = (&stage.step, &stage.who);
    let by = if who.is_empty() { String::new() } else { format!(" by {who}") };
    let took = duration(stage.elapsed_ms(now));
    let reason =
        if stage.remark.is_empty() { String::new() } else { format!(": {}", stage.remark) };
    match (stage.ended_well, stage.now()) {
        (Some(true), _) => format!("  ✓ {step}{by}, {took}{reason}"),
        (Some(false), _) => format!("  ✗ {step}{by}, {took}{reason}"),
        (None, Some(What::Lock(_) | What::Person(_))) => format!("  ⏸ {step} {}", doing(stage)),
        (None, _) => format!("  ▸ {step}{by}{reason}"),
    }
}

/// One line about the run as a whole.
fn standing(history: &History, now: Timestamp) -> String {
    let Some(started) = history.started else { return "starting".to_owned() };
    let to = history.ended.map_or(now, |(at, _)| at);
    let word = match (&history.decision, history.ended) {
        (_, Some((_, status))) => status.as_str().to_owned(),
        (Some(decision), None) => format!("paused, waits for {}", decision.role),
        (None, None) => "running".to_owned(),
    };
    let locks = match history.held.as_slice() {
        [] => String::new(),
        held => format!(", holds {}", held.join(", ")),
    };
    format!("{} {word}{locks}", duration(to.ms_since(started)))
}

/// Milliseconds as people say them.
pub(crate) fn duration(ms: u64) -> String {
    match ms / 1_000 {
        0..60 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        seconds @ 60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (COLUMNS, usize::MAX),
    }
}
