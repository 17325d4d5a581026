//! Evaluates a tree. Both sides of every operator are always evaluated, so that the problems found
//! do not depend on the values: `false and missing` reports what is missing.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::Scope;
use super::ast::{Expr, Operator, Path};
use super::number::Number;

/// What is done about a value that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It is a problem, wherever it is.
    Strict,
    /// It is nothing; `+` takes the other side.
    Lenient,
}

/// One walk over a tree, and what it noticed.
pub(super) struct Evaluation<'s, 'a> {
    scope: &'s Scope<'a>,
    mood: Mood,
    pub(super) problems: Vec<String>,
    pub(super) warning: Option<String>,
}

/// None: there is no value, and if that is a problem, it has been recorded.
type Outcome<'a> = Option<Cow<'a, Value>>;

impl<'s, 'a> Evaluation<'s, 'a> {
    pub(super) fn new(scope: &'s Scope<'a>, mood: Mood) -> Self {
        Self { scope, mood, problems: Vec::new(), warning: None }
    }

    pub(super) fn evaluate(&mut self, expr: &'a Expr) -> Outcome<'a> {
        match expr {
            Expr::Literal(value) => Some(Cow::Borrowed(value)),
            Expr::Path(path) => self.path(path),
            Expr::Not(inner) => {
                let value = self.evaluate(inner);
                self.boolean(inner, value).map(|value| owned(!value))
            }
            Expr::Negate(inner) => {
                let value = self.evaluate(inner);
                let value = self.operand(inner, value)?;
                match Number::of(&value) {
                    Some(number) => self.calculated(expr, number.negate()),
                    None => self.problem(format!("{inner} is {}, not a number", kind(&value))),
                }
            }
            Expr::Binary(left, operator, right) => {
                let values = (self.evaluate(left), self.evaluate(right));
                self.binary(expr, (left, values.0), *operator, (right, values.1))
            }
        }
    }

    fn path(&mut self, path: &Path) -> Outcome<'a> {
        let value = self.scope.lookup(path);
        if value.is_none() && self.mood == Mood::Strict {
            self.problems.push(format!("{path} is missing"));
        }
        value
    }

    fn binary(
        &mut self,
        expr: &'a Expr,
        left: (&'a Expr, Outcome<'a>),
        operator: Operator,
        right: (&'a Expr, Outcome<'a>),
    ) -> Outcome<'a> {
        match operator {
            Operator::And | Operator::Or => {
                let left = self.boolean(left.0, left.1);
                let right = self.boolean(right.0, right.1);
                let (left, right) = (left?, right?);
                Some(owned(if operator == Operator::And { left && right } else { left || right }))
            }
            Operator::Equal | Operator::NotEqual => {
                let equal = self.equal(expr, left, right)?;
                Some(owned(equal == (operator == Operator::Equal)))
            }
            Operator::Add if self.mood == Mood::Lenient => self.join(expr, left.1, right.1),
            _ => {
                let left_value = self.operand(left.0, left.1);
                let right_value = self.operand(right.0, right.1);
                let (left_value, right_value) = (left_value?, right_value?);
                self.strict_binary(expr, &left_value, operator, &right_value)
            }
        }
    }

    /// Operators that need a value on both sides.
    fn strict_binary(
        &mut self,
        expr: &'a Expr,
        left: &Value,
        operator: Operator,
        right: &Value,
    ) -> Outcome<'a> {
        match operator {
            Operator::In | Operator::NotIn => {
                let Some(found) = contains(right, left) else {
                    return self.mismatch(expr, left, right);
                };
                Some(owned(found == (operator == Operator::In)))
            }
            Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
                let Some(ordering) = order(left, right) else {
                    return self.mismatch(expr, left, right);
                };
                self.warn_of_zeros(expr, left, right);
                Some(owned(match operator {
                    Operator::Less => ordering == Ordering::Less,
                    Operator::LessEqual => ordering != Ordering::Greater,
                    Operator::Greater => ordering == Ordering::Greater,
                    _ => ordering != Ordering::Less,
                }))
            }
            _ => match (Number::of(left), Number::of(right)) {
                (Some(left), Some(right)) => self.calculated(expr, left.calculate(operator, right)),
                _ if operator == Operator::Add => match same_kind_sum(left, right) {
                    Some(sum) => Some(Cow::Owned(sum)),
                    None => self.mismatch(expr, left, right),
                },
                _ => self.mismatch(expr, left, right),
            },
        }
    }

    /// `null` written out may be compared with anything that is there; a null that was read is
    /// no value.
    fn equal(
        &mut self,
        expr: &'a Expr,
        left: (&'a Expr, Outcome<'a>),
        right: (&'a Expr, Outcome<'a>),
    ) -> Option<bool> {
        let is_null = |expr: &Expr| *expr == Expr::Literal(Value::Null);
        if is_null(left.0) || is_null(right.0) {
            let (left, right) = (self.present(left), self.present(right));
            return Some(left?.is_null() == right?.is_null());
        }
        let left = self.operand(left.0, left.1);
        let right = self.operand(right.0, right.1);
        let (left, right) = (left?, right?);
        if kind(&left) != kind(&right) {
            self.mismatch(expr, &left, &right);
            return None;
        }
        self.warn_of_zeros(expr, &left, &right);
        Some(same(&left, &right))
    }

    /// `+` where gaps are allowed: what is missing on one side leaves the other.
    fn join(&mut self, expr: &'a Expr, left: Outcome<'a>, right: Outcome<'a>) -> Outcome<'a> {
        let (left, right) = match (left.filter(|v| !v.is_null()), right.filter(|v| !v.is_null())) {
            (Some(left), Some(right)) => (left, right),
            (one, other) => return one.or(other),
        };
        if let Some(sum) = same_kind_sum(&left, &right) {
            return Some(Cow::Owned(sum));
        }
        match (&*left, &*right) {
            (Value::Array(list), Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
                let items = list.iter().chain([&*right]).cloned().collect();
                Some(Cow::Owned(Value::Array(items)))
            }
            _ => match (numeric(&left), numeric(&right)) {
                (Some(left), Some(right)) => {
                    self.calculated(expr, left.calculate(Operator::Add, right))
                }
                _ => self.mismatch(expr, &left, &right),
            },
        }
    }

    /// The value, null included; records that it is missing where [`Self::path`] did not.
    fn present(&mut self, (expr, value): (&Expr, Outcome<'a>)) -> Outcome<'a> {
        if value.is_none() && self.mood == Mood::Lenient && self.problems.is_empty() {
            self.problems.push(format!("{expr} is missing"));
        }
        value
    }

    /// The value, if it is one.
    fn operand(&mut self, expr: &Expr, value: Outcome<'a>) -> Outcome<'a> {
        match self.present((expr, value)) {
            Some(value) if value.is_null() => self.problem(format!("{expr} is null")),
            other => other,
        }
    }

    pub(super) fn boolean(&mut self, expr: &Expr, value: Outcome<'a>) -> Option<bool> {
        let value = self.operand(expr, value)?;
        if let Value::Bool(value) = &*value {
            return Some(*value);
        }
        self.problem(format!("{expr} is {}, not true or false", kind(&value)));
        None
    }

    fn calculated(&mut self, expr: &Expr, result: Result<Value, &'static str>) -> Outcome<'a> {
        match result {
            Ok(value) => Some(Cow::Owned(value)),
            Err(reason) => self.problem(format!("{expr} {reason}")),
        }
    }

    fn mismatch(&mut self, expr: &Expr, left: &Value, right: &Value) -> Outcome<'a> {
        let (left, right) = (kind(left), kind(right));
        self.problem(format!("{expr}: {left} and {right} do not go together"))
    }

    fn problem(&mut self, message: String) -> Outcome<'a> {
        self.problems.push(message);
        None
    }

    /// "0 of 0 tests passed" is literally true; somebody should hear of it.
    fn warn_of_zeros(&mut self, expr: &Expr, left: &Value, right: &Value) {
        let Expr::Binary(left_expr, _, right_expr) = expr else { return };
        let is_zero = |value| Number::of(value).is_some_and(Number::is_zero);
        let constant = left_expr.is_constant() || right_expr.is_constant();
        if !constant && is_zero(left) && is_zero(right) {
            self.warning.get_or_insert_with(|| format!("{expr} compares 0 with 0"));
        }
    }
}

fn owned<'a>(value: bool) -> Cow<'a, Value> {
    Cow::Owned(Value::Bool(value))
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Equality that does not tell 1 from 1.0.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, l)| right.get(key).is_some_and(|r| same(l, r)))
        }
        _ => match (Number::of(left), Number::of(right)) {
            (Some(left), Some(right)) => left.compare(right) == Some(Ordering::Equal),
            _ => left == right,
        },
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => Number::of(left)?.compare(Number::of(right)?),
    }
}

fn contains(container: &Value, value: &Value) -> Option<bool> {
    match (container, value) {
        (Value::Array(items), _) => Some(items.iter().any(|item| same(item, value))),
        (Value::String(text), Value::String(part)) => Some(text.contains(part.as_str())),
        (Value::Object(map), Value::String(key)) => Some(map.contains_key(key)),
        _ => None,
    }
}

/// Two texts or two lists, one after the other.
fn same_kind_sum(left: &Value, right: &Value) -> Option<Value> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            Some(Value::String(format!("{left}{right}")))
        }
        (Value::Array(left), Value::Array(right)) => {
            Some(Value::Array(left.iter().chain(right).cloned().collect()))
        }
        _ => None,
    }
}

/// A number, or text that reads as one.
fn numeric(value: &Value) -> Option<Number> {
    match value {
        Value::String(text) => Number::of_text(text),
        other => Number::of(other),
    }
}
