//! The expressions of the template language: conditions, and `{{ }}` in texts and payloads.
//!
//! One grammar serves all three: paths (`outputs.review.score`, `outputs['my-step'].items.0`),
//! numbers, quoted text, `true`, `false`, `null`, lists of literals, the operators `or and not`,
//! `== != < <= > >= in`, `+ - * /`, and parentheses. There are no calls, no filters and no other
//! names than the roots of a [`Scope`]. A `-` is always the operator, so a step whose id has one is
//! reached as `outputs['my-step']`.
//!
//! The same expression is read in two moods. A [`Condition`] is strict: whatever it cannot read or
//! compare makes it false, because a gate must never open by accident. A [`Text`] or [`Payload`] is
//! lenient: what is missing renders as nothing, because a message with a gap beats no message.

mod ast;
mod condition;
mod eval;
mod lexer;
mod number;
mod parser;
mod payload;
mod scope;
mod text;

pub(crate) use ast::Path;
pub use condition::{Check, Condition};
pub use payload::{Payload, Rendered};
pub use scope::{Branch, Scope};
pub use text::{Missing, Text};

/// Longest expression, bytes.
pub const MAX_EXPRESSION_BYTES: usize = 4096;
/// Deepest nesting of parentheses and prefix operators.
pub const MAX_DEPTH: usize = 64;
/// Most operators in one expression. Bounds the depth of the tree, so that no walk of it can
/// exhaust the stack.
pub const MAX_OPERATORS: usize = 256;
/// Most bytes that one rendering may produce; what follows is left out and reported.
pub const MAX_RENDERED_BYTES: usize = 16 * 1024 * 1024;

/// An expression that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Byte offset into the text that was parsed.
    pub offset: usize,
    /// What is wrong there.
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
