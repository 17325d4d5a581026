//! A question about a run that is answered with true or false, and in doubt with false.

use serde_json::Value;

use super::ast::{Expr, Path};
use super::eval::{Evaluation, Mood};
use super::{ParseError, Scope, parser};

/// Most reasons named in one [`Check`].
const MAX_REASONS: usize = 3;

/// A parsed condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    source: String,
    expr: Expr,
}

/// The answer to a [`Condition`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// True only if every operand was there, fitted, and the condition was met.
    pub holds: bool,
    /// Why it could not be evaluated; none when it simply is, or is not, met.
    pub reason: Option<String>,
    /// Something odd about an answer that stands, such as 0 of 0.
    pub warning: Option<String>,
}

impl Condition {
    /// Reads an expression; braces around it are not part of one.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        Ok(Self { source: source.to_owned(), expr: parser::parse(source)? })
    }

    /// Holds in no run.
    pub(crate) fn never() -> Self {
        Self { source: "false".to_owned(), expr: Expr::Literal(Value::Bool(false)) }
    }

    /// The condition as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates every part of it, even where one side already decides: a missing operand or a
    /// mismatch of types anywhere makes it false.
    #[must_use]
    pub fn check(&self, scope: &Scope<'_>) -> Check {
        let mut evaluation = Evaluation::new(scope, Mood::Strict);
        let value = evaluation.evaluate(&self.expr);
        let answer = evaluation.boolean(&self.expr, value);
        let mut problems = evaluation.problems;
        problems.dedup();
        problems.truncate(MAX_REASONS);
        if problems.is_empty() {
            Check { holds: answer == Some(true), reason: None, warning: evaluation.warning }
        } else {
            Check { holds: false, reason: Some(problems.join("; ")), warning: None }
        }
    }

    pub(crate) fn visit_paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        self.expr.visit_paths(visit);
    }
}
