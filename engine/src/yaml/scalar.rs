//! What a plain scalar stands for, by the rules of PyYAML.

use serde_json::{Number, Value};

/// The value of a plain scalar, or why JSON has none. Dates stay text.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        _ => {}
    }
    if let Some(integer) = integer(text) {
        return integer.ok_or_else(|| format!("the number {text} is too large"));
    }
    match float(text) {
        Some(value) => Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| format!("{text} is not a number that JSON can hold")),
        None => Ok(Value::String(text.to_owned())),
    }
}

/// Outer none: not written as an integer. Inner none: it does not fit.
fn integer(text: &str) -> Option<Option<Value>> {
    let (negative, digits) = sign(text);
    let magnitude = match digits.as_bytes() {
        [b'0', b'b', rest @ ..] if all(rest, |b| matches!(b, b'0' | b'1')) => {
            radix(&digits[2..], 2)?
        }
        [b'0', b'x', rest @ ..] if all(rest, |b| b.is_ascii_hexdigit()) => radix(&digits[2..], 16)?,
        [b'0'] => Some(0),
        [b'0', rest @ ..] if all(rest, |b| matches!(b, b'0'..=b'7')) => radix(digits, 8)?,
        [b'1'..=b'9', ..] if digits.contains(':') => {
            let mut parts = digits.split(':');
            let first = radix(parts.next()?, 10)?;
            sexagesimal(parts)?.zip(first).and_then(|((minutes, scale), first)| {
                first.checked_mul(scale)?.checked_add(minutes)
            })
        }
        [b'1'..=b'9', rest @ ..] if rest.is_empty() || all(rest, |b| b.is_ascii_digit()) => {
            radix(digits, 10)?
        }
        _ => return None,
    };
    Some(magnitude.and_then(|magnitude| signed(negative, magnitude)))
}

fn signed(negative: bool, magnitude: u64) -> Option<Value> {
    if negative {
        0_i64.checked_sub_unsigned(magnitude).map(Value::from)
    } else {
        Some(magnitude.into())
    }
}

/// Outer none: not a number in that base. Inner none: it does not fit.
fn radix(digits: &str, radix: u32) -> Option<Option<u64>> {
    let digits = digits.replace('_', "");
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(u64::from_str_radix(&digits, radix).ok())
}

/// The parts after the first `:`, as their sum and the worth of one unit before them.
fn sexagesimal<'t>(parts: impl Iterator<Item = &'t str>) -> Option<Option<(u64, u64)>> {
    let mut total = Some((0_u64, 1_u64));
    for part in parts {
        if !is_sixtieth(part) {
            return None;
        }
        let part: u64 = part.parse().ok()?;
        total = total.and_then(|(sum, scale)| {
            Some((sum.checked_mul(60)?.checked_add(part)?, scale.checked_mul(60)?))
        });
    }
    Some(total)
}

fn is_sixtieth(part: &str) -> bool {
    matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
}

fn float(text: &str) -> Option<f64> {
    let (negative, digits) = sign(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Some(f64::INFINITY);
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(f64::NAN);
    }
    let value =
        if digits.contains(':') { sexagesimal_float(digits)? } else { decimal(text, digits)? };
    Some(if negative { -value } else { value })
}

/// A float needs its point, and an exponent its sign.
fn decimal(text: &str, digits: &str) -> Option<f64> {
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.')?;
    let well_formed = match whole.as_bytes() {
        // Without a whole part there is no sign, and the fraction starts with a digit.
        [] => text == digits && starts_with_digit(fraction) && underscored(fraction),
        _ => starts_with_digit(whole) && underscored(whole) && underscored(fraction),
    };
    let exponent_formed = exponent.is_none_or(|exponent| {
        exponent
            .strip_prefix(['+', '-'])
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    });
    if !well_formed || !exponent_formed {
        return None;
    }
    digits.replace('_', "").parse().ok()
}

fn sexagesimal_float(digits: &str) -> Option<f64> {
    let (whole, fraction) = digits.split_once('.')?;
    let mut parts = whole.split(':');
    let first = parts.next()?;
    if !starts_with_digit(first) || !underscored(first) || !underscored(fraction) {
        return None;
    }
    let mut value: f64 = first.replace('_', "").parse().ok()?;
    for part in parts {
        if !is_sixtieth(part) {
            return None;
        }
        value = value * 60.0 + part.parse::<f64>().ok()?;
    }
    let fraction: f64 = format!("0.{}0", fraction.replace('_', "")).parse().ok()?;
    Some(value + fraction)
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    }
}

fn all(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| *b == b'_' || wanted(*b))
}

fn underscored(text: &str) -> bool {
    text.bytes().all(|b| b == b'_' || b.is_ascii_digit())
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}
