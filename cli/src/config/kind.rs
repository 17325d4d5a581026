//! Types of settings.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_proto::ids::WorkerName;

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything.
    Text,
    /// `ip:port`.
    Address,
    /// `10s`, `500ms`, `2m`.
    Duration,
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// Texts with commas between them.
    List,
    /// Lower-case letters, digits and `-`.
    Token,
    /// Letters, digits, `-` and `_`.
    Name,
    /// A whole number from 0.
    Count,
}

impl Kind {
    /// The value without the white space around it, or what was expected.
    pub(super) fn check(self, value: &str) -> Result<String, &'static str> {
        let value = value.trim();
        let (right, expected) = match self {
            Self::Text | Self::List => (true, "a text"),
            Self::Address => {
                (value.parse::<SocketAddr>().is_ok(), "an address like 127.0.0.1:8001")
            }
            Self::Duration => (duration(value).is_some(), "a duration like 500ms, 10s or 2m"),
            Self::Url(schemes) => (is_url(value, schemes), url_example(schemes)),
            Self::Name => {
                (WorkerName::parse(value).is_ok(), "1 to 128 letters, digits, '-' or '_'")
            }
            Self::Count => (value.parse::<u32>().is_ok(), "a whole number from 0"),
            Self::Token => (is_token(value), "1 to 32 lower-case letters, digits or '-'"),
        };
        if right { Ok(value.to_owned()) } else { Err(expected) }
    }
}

/// `10s`, `500ms`, `2m`, `1h`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let unit_ms = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    schemes.contains(&scheme)
        && !rest.is_empty()
        && !rest.starts_with('/')
        && !rest.contains(char::is_whitespace)
}

fn url_example(schemes: &[&str]) -> &'static str {
    match schemes.first() {
        Some(&"nats") => "a URL like nats://127.0.0.1:4222",
        Some(&"postgres") => "a URL like postgres://user:password@127.0.0.1:5432/sluice",
        _ => "a URL like http://127.0.0.1:8001",
    }
}

fn is_token(text: &str) -> bool {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(valid)
}
