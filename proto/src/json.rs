//! What JSON may enter the record.
//!
//! Events are stored as canonical JSON (RFC 8785), which knows only IEEE 754 doubles and no lone
//! surrogates; PostgreSQL's `jsonb` knows no NUL. A value that would come back different is refused
//! at the door, and one that only looks different (`1.0`) is brought into its canonical form there,
//! so that live state and replayed state are equal to the letter.

use serde_json::{Number, Value};

/// Deepest nesting accepted.
pub const MAX_DEPTH: usize = 64;
/// Largest integer that a double holds exactly, 2^53 − 1 (RFC 7493, section 2.2).
pub const MAX_SAFE_INTEGER: i64 = 9_007_199_254_740_991;

/// Why a JSON value cannot be recorded. `path` leads to the place, `$` is the whole value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrecordable {
    /// A NUL character in a string or a key.
    #[error("{path}: text with a NUL character cannot be stored")]
    Nul {
        /// Where.
        path: String,
    },
    /// An integer outside ±(2^53 − 1).
    #[error("{path}: the integer {number} is beyond 2^53 and would lose digits; send it as text")]
    Integer {
        /// Where.
        path: String,
        /// The number as text.
        number: String,
    },
    /// Nested too deep.
    #[error("{path}: nested deeper than {MAX_DEPTH} levels")]
    Depth {
        /// Where.
        path: String,
    },
}

/// Brings `value` into the form it has after a round trip through the record.
///
/// # Errors
/// Names the first place that cannot be stored as it is.
pub fn normalise(value: &mut Value) -> Result<(), Unrecordable> {
    walk(value, &mut Vec::new())
}

fn walk(value: &mut Value, path: &mut Vec<String>) -> Result<(), Unrecordable> {
    if path.len() > MAX_DEPTH {
        return Err(Unrecordable::Depth { path: show(&path[..3]) });
    }
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) => {
            *number = safe_number(number).ok_or_else(|| Unrecordable::Integer {
                path: show(path),
                number: number.to_string(),
            })?;
            Ok(())
        }
        Value::String(text) => no_nul(text, path),
        Value::Array(items) => items.iter_mut().enumerate().try_for_each(|(index, item)| {
            path.push(index.to_string());
            walk(item, path)?;
            path.pop();
            Ok(())
        }),
        Value::Object(fields) => fields.iter_mut().try_for_each(|(key, item)| {
            path.push(key.chars().take(40).collect());
            no_nul(key, path)?;
            walk(item, path)?;
            path.pop();
            Ok(())
        }),
    }
}

/// Floats without a fraction become integers, as RFC 8785 writes them.
fn safe_number(number: &Number) -> Option<Number> {
    if let Some(integer) = number.as_i64() {
        return (integer.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs())
            .then(|| Number::from(integer));
    }
    if number.is_u64() {
        return None;
    }
    let float = number.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "bounded above"
    )]
    if float.fract() == 0.0 && float.abs() <= MAX_SAFE_INTEGER as f64 {
        return Some(Number::from(float as i64));
    }
    Number::from_f64(float)
}

fn no_nul(text: &str, path: &[String]) -> Result<(), Unrecordable> {
    if text.contains('\0') { Err(Unrecordable::Nul { path: show(path) }) } else { Ok(()) }
}

fn show(path: &[String]) -> String {
    std::iter::once("$").chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_without_a_fraction_become_integers() {
        let mut value = json!({"a": [1.0, -0.0, 1.5, 1e21, 3]});
        normalise(&mut value).unwrap();
        assert_eq!(value, json!({"a": [1, 0, 1.5, 1e21, 3]}));
    }

    #[test]
    fn a_normalised_value_survives_canonicalisation() {
        let mut value =
            json!({"b": 0.1, "a": "é\u{1F600}\n", "n": 9_007_199_254_740_991_i64, "x": 5e-324});
        normalise(&mut value).unwrap();
        let bytes = serde_json_canonicalizer::to_vec(&value).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
    }

    #[test]
    fn names_the_place_it_refuses() {
        let cases = [
            (json!({"a": {"b": "x\u{0}"}}), "$.a.b: text with a NUL"),
            (json!({"a\u{0}": 1}), "NUL"),
            (json!([1, 9_007_199_254_740_992_i64]), "$.1: the integer 9007199254740992"),
            (json!(u64::MAX), "$: the integer"),
        ];
        for (mut value, expected) in cases {
            let message = normalise(&mut value).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let mut value = json!(1);
        for _ in 0..=MAX_DEPTH {
            value = json!([value]);
        }
        assert!(matches!(normalise(&mut value), Err(Unrecordable::Depth { .. })));
    }
}
