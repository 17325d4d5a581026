//! Arithmetic on JSON numbers: integers stay integers as long as they fit, and never wrap.

use std::cmp::Ordering;

use serde_json::{Number as JsonNumber, Value};

use super::ast::Operator;

#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    pub(super) fn of(value: &Value) -> Option<Self> {
        let Value::Number(number) = value else { return None };
        number.as_i64().map(Self::Integer).or_else(|| number.as_f64().map(Self::Float))
    }

    /// Reads text that is nothing but a number.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let text = text.trim();
        // Rust also reads "inf" and "nan", which no JSON number can hold.
        if !text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) {
            return None;
        }
        let integer = text.parse().map(Self::Integer);
        integer.ok().or_else(|| text.parse().ok().filter(|f: &f64| f.is_finite()).map(Self::Float))
    }

    pub(super) fn is_zero(self) -> bool {
        self.float() == 0.0
    }

    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(&right)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }

    /// The result as a JSON value, or why there is none.
    pub(super) fn calculate(self, operator: Operator, other: Self) -> Result<Value, &'static str> {
        match (self, other, operator) {
            (_, divisor, Operator::Divide) if divisor.is_zero() => Err("divides by zero"),
            (Self::Integer(left), Self::Integer(right), Operator::Add) => {
                integer(left.checked_add(right))
            }
            (Self::Integer(left), Self::Integer(right), Operator::Subtract) => {
                integer(left.checked_sub(right))
            }
            (Self::Integer(left), Self::Integer(right), Operator::Multiply) => {
                integer(left.checked_mul(right))
            }
            (left, right, operator) => {
                let (left, right) = (left.float(), right.float());
                float(match operator {
                    Operator::Subtract => left - right,
                    Operator::Multiply => left * right,
                    Operator::Divide => left / right,
                    _ => left + right,
                })
            }
        }
    }

    pub(super) fn negate(self) -> Result<Value, &'static str> {
        match self {
            Self::Integer(value) => integer(value.checked_neg()),
            Self::Float(value) => float(-value),
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

fn integer(result: Option<i64>) -> Result<Value, &'static str> {
    result.map(Value::from).ok_or("is too large a number")
}

fn float(result: f64) -> Result<Value, &'static str> {
    JsonNumber::from_f64(result).map(Value::Number).ok_or("is too large a number")
}
