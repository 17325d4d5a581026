//! Durations as people write them.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Longest duration anybody may ask for: a week.
const MAX_MS: u64 = 7 * 24 * 3_600_000;

/// `120s`, `5m`, `500ms`, `1h`, `2d`, or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let unit_ms = match unit.trim() {
            "ms" => 1.0,
            "" | "s" => 1_000.0,
            "m" | "min" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return Err(wrong(text)),
        };
        let number: f64 = number.parse().map_err(|_| wrong(text))?;
        Self::from_ms(number * unit_ms).ok_or_else(|| wrong(text))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "bounded"
    )]
    fn from_ms(ms: f64) -> Option<Self> {
        (ms >= 1.0 && ms <= MAX_MS as f64).then(|| Self(Duration::from_millis(ms as u64)))
    }
}

fn wrong(text: &str) -> String {
    format!("'{text}' is no duration: write 500ms, 120s, 5m or 1h, at most 7 days")
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 120s or 5m, or a number of seconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                self.visit_str(&seconds.to_string())
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                self.visit_str(&seconds.to_string())
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
                self.visit_str(&seconds.to_string())
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let cases = [
            ("120s", 120_000),
            ("5m", 300_000),
            ("90", 90_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("7d", MAX_MS),
        ];
        for (text, ms) in cases {
            assert_eq!(Span::parse(text), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        for text in ["", "s", "-1s", "0", "5 parsecs", "1e3", "8d", "1.2.3s"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }
}
