//! The only place that writes to standard output.
//!
//! What is printed never depends on whether a terminal listens; only colours do.

use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Prints one line to standard output.
pub(crate) fn line(text: impl AsRef<str>) {
    write_or_leave(&mut io::stdout().lock(), text.as_ref());
}

/// Writes bytes to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    leave_on(&out.write_all(bytes).and_then(|()| out.flush()));
}

/// Prints one line to standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    // Nobody can be told that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Prints indented JSON, its keys in the order they came.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        Err(error) => note(format!("error: the answer cannot be shown: {error}")),
    }
}

/// Prints one JSON value a line, for a stream of them.
pub(crate) fn json_line(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(text),
        Err(error) => note(format!("error: the answer cannot be shown: {error}")),
    }
}

/// A reader that has seen enough (`sluice list | head`) is no reason to complain.
fn write_or_leave(out: &mut impl Write, text: &str) {
    leave_on(&writeln!(out, "{text}").and_then(|()| out.flush()));
}

fn leave_on(written: &io::Result<()>) {
    if let Err(error) = written {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        note(format!("error: standard output cannot be written: {error}"));
        std::process::exit(1);
    }
}

/// A moment in UTC to the second, which is enough for people; `-` for none.
pub(crate) fn seconds(moment: &serde_json::Value) -> String {
    moment.as_str().unwrap_or("-").chars().take(19).collect()
}

/// Prints rows under a heading, aligned.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(aligned(&heading.map(str::to_owned), &widths));
    for row in rows {
        let coloured = aligned(row, &widths);
        line(row.iter().fold(coloured, |text, cell| paint(&text, cell)));
    }
}

fn aligned<const N: usize>(row: &[String; N], widths: &[usize; N]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// `✓`, `⚠` or `✗`, in its colour.
pub(crate) fn mark(mark: &str) -> String {
    paint(mark, mark)
}

/// Colours `word` in `text` when it is one that has a colour.
fn paint(text: &str, word: &str) -> String {
    let code = match word {
        "completed" | "ok" | "✓" => "32",
        "running" | "pending" | "live" => "36",
        "paused" | "warn" | "⚠" => "33",
        "failed" | "fail" | "lost" | "rolled_back" | "cancelled" | "✗" => "31",
        _ => return text.to_owned(),
    };
    if !has_colours(&io::stdout()) {
        return text.to_owned();
    }
    text.replacen(word, &format!("\u{1b}[{code}m{word}\u{1b}[0m"), 1)
}

/// Whether `stream` is a terminal whose user has not asked for plain text.
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned_by_characters() {
        let row = ["é".to_owned(), "x".to_owned()];
        assert_eq!(aligned(&row, &[3, 5]), "é    x");
    }
}
