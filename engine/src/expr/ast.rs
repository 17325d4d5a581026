//! The tree of a parsed expression.

use std::fmt;

use serde_json::Value;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Literal(Value),
    Path(Path),
    Not(Box<Self>),
    Negate(Box<Self>),
    Binary(Box<Self>, Operator, Box<Self>),
}

/// Where a value is found: a root, then one name or index after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) root: String,
    pub(crate) segments: Vec<String>,
    /// Byte offset in the source of the expression.
    pub(crate) offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Operator {
    /// How tightly it binds; prefix `not` stands between `and` and the comparisons.
    pub(crate) fn power(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Add | Self::Subtract => 5,
            Self::Multiply | Self::Divide => 6,
            _ => COMPARISON_POWER,
        }
    }

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
            Self::NotIn => "not in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        }
    }
}

pub(crate) const NOT_POWER: u8 = 3;
pub(crate) const COMPARISON_POWER: u8 = 4;
pub(crate) const NEGATE_POWER: u8 = 7;

impl Expr {
    /// Calls `visit` with every path, from left to right.
    pub(crate) fn visit_paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        match self {
            Self::Literal(_) => {}
            Self::Path(path) => visit(path),
            Self::Not(inner) | Self::Negate(inner) => inner.visit_paths(visit),
            Self::Binary(left, _, right) => {
                left.visit_paths(visit);
                right.visit_paths(visit);
            }
        }
    }

    /// True when the value does not depend on the run.
    pub(crate) fn is_constant(&self) -> bool {
        let mut paths = 0;
        self.visit_paths(&mut |_| paths += 1);
        paths == 0
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(Value::String(text)) => write!(f, "'{text}'"),
            Self::Literal(value) => write!(f, "{value}"),
            Self::Path(path) => path.fmt(f),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::Negate(inner) => write!(f, "-({inner})"),
            Self::Binary(left, operator, right) => {
                operand(f, left, *operator)?;
                write!(f, " {} ", operator.symbol())?;
                operand(f, right, *operator)
            }
        }
    }
}

fn operand(f: &mut fmt::Formatter<'_>, expr: &Expr, parent: Operator) -> fmt::Result {
    match expr {
        Expr::Binary(_, operator, _) if operator.power() <= parent.power() => {
            write!(f, "({expr})")
        }
        _ => write!(f, "{expr}"),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        for segment in &self.segments {
            if segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                write!(f, ".{segment}")?;
            } else {
                write!(f, "['{segment}']")?;
            }
        }
        Ok(())
    }
}
