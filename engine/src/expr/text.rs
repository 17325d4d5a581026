//! Text with `{{ }}` in it.

use std::borrow::Cow;

use serde_json::Value;

use super::ast::{Expr, Path};
use super::eval::{Evaluation, Mood};
use super::{MAX_RENDERED_BYTES, ParseError, Scope, parser};

/// What stands in a text for a value that is missing or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing.
    Empty,
    /// `n/a`, for texts that somebody or a model reads.
    NotAvailable,
}

/// A parsed text.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Expression {
        expr: Expr,
        /// Byte offset of the expression in the text.
        offset: usize,
    },
}

impl Text {
    /// Finds and reads every `{{ expression }}`.
    ///
    /// # Errors
    /// The first expression that cannot be read, with its byte offset in `source`.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        Self::parse_all(source).map_err(|mut errors| errors.swap_remove(0))
    }

    /// Like [`Self::parse`], but goes on after an error: the list is in order and never empty.
    pub(crate) fn parse_all(source: &str) -> Result<Self, Vec<ParseError>> {
        let mut parts = Vec::new();
        let mut errors = Vec::new();
        let mut rest = 0;
        while let Some(open) = source[rest..].find("{{").map(|at| rest + at) {
            push_literal(&mut parts, &source[rest..open]);
            let Some(close) = closing_braces(source, open + 2) else {
                errors.push(ParseError::new(open, "'{{' is never closed"));
                rest = source.len();
                break;
            };
            match expression(source, open + 2, close) {
                Ok(part) => parts.push(part),
                Err(error) => errors.push(error),
            }
            rest = close + 2;
        }
        push_literal(&mut parts, &source[rest..]);
        if errors.is_empty() { Ok(Self { source: source.to_owned(), parts }) } else { Err(errors) }
    }

    /// Text without expressions, whatever it looks like.
    pub(crate) fn literal(source: &str) -> Self {
        Self { source: source.to_owned(), parts: vec![Part::Literal(source.to_owned())] }
    }

    /// The text as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Fills in the values, once: braces inside a value are left alone.
    #[must_use]
    pub fn render(&self, scope: &Scope<'_>, missing: Missing) -> String {
        self.render_into(scope, missing, &mut Vec::new())
    }

    /// Like [`Self::render`], and says which expressions had no value because of an error.
    #[must_use]
    pub fn render_into(
        &self,
        scope: &Scope<'_>,
        missing: Missing,
        problems: &mut Vec<String>,
    ) -> String {
        let mut rendered = String::new();
        for part in &self.parts {
            let piece = match part {
                Part::Literal(text) => Cow::Borrowed(text.as_str()),
                Part::Expression { expr, .. } => {
                    let value = value_of(expr, scope, problems);
                    Cow::Owned(stringify(value.as_deref(), missing))
                }
            };
            if rendered.len() + piece.len() > MAX_RENDERED_BYTES {
                problems.push(format!("text cut at {} bytes", rendered.len()));
                break;
            }
            rendered.push_str(&piece);
        }
        rendered
    }

    /// The expression, if the text is nothing else; white space around it does not count.
    pub(crate) fn sole_expression(&self) -> Option<&Expr> {
        let mut sole = None;
        for part in &self.parts {
            match part {
                Part::Literal(text) if text.trim().is_empty() => {}
                Part::Expression { expr, .. } if sole.is_none() => sole = Some(expr),
                _ => return None,
            }
        }
        sole
    }

    pub(super) fn has_expressions(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Expression { .. }))
    }

    /// Calls `visit` with every path and its byte offset in the text.
    pub(crate) fn visit_paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path, usize)) {
        for part in &self.parts {
            if let Part::Expression { expr, offset } = part {
                expr.visit_paths(&mut |path| visit(path, offset + path.offset));
            }
        }
    }
}

/// The value of an expression, or none; errors are added to `problems`.
pub(super) fn value_of<'a>(
    expr: &'a Expr,
    scope: &Scope<'a>,
    problems: &mut Vec<String>,
) -> Option<Cow<'a, Value>> {
    let mut evaluation = Evaluation::new(scope, Mood::Lenient);
    let value = evaluation.evaluate(expr);
    problems.append(&mut evaluation.problems);
    value
}

fn stringify(value: Option<&Value>, missing: Missing) -> String {
    match (value, missing) {
        (None | Some(Value::Null), Missing::Empty) => String::new(),
        (None | Some(Value::Null), Missing::NotAvailable) => "n/a".to_owned(),
        (Some(Value::String(text)), _) => text.clone(),
        (Some(other), _) => other.to_string(),
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
}

/// Where the expression that starts at `start` ends. Braces inside its quotes do not count, unless
/// a quote is never closed: then the error should be about the quote.
fn closing_braces(source: &str, start: usize) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in source.bytes().enumerate().skip(start) {
        match (quote, byte) {
            _ if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), byte) if byte == open => quote = None,
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'}') if source[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    source[start..].find("}}").map(|at| start + at)
}

fn expression(source: &str, start: usize, end: usize) -> Result<Part, ParseError> {
    let body = &source[start..end];
    if body.trim().is_empty() {
        return Err(ParseError::new(start - 2, "there is no expression between '{{' and '}}'"));
    }
    if body.starts_with('-') || body.ends_with('-') {
        let message = "'{{-' and '-}}' are not part of the language";
        return Err(ParseError::new(start - 2, message));
    }
    match parser::parse(body) {
        Ok(expr) => Ok(Part::Expression { expr, offset: start }),
        Err(error) => Err(ParseError::new(start + error.offset, error.message)),
    }
}
