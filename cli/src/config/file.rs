//! `sluice.yaml`: one mapping of setting to value.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Error, Location, Spanned, UserMessageFormatter};

use super::Origin;
use super::error::ConfigError;
use super::settings::SETTINGS;
use crate::names::nearest;

/// One entry of the file, its key known.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// Reads the file; every key must be a setting and every value a scalar or a list of them.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let reader = Reader { path };
    let Pairs(pairs) = serde_saphyr::from_str(&text).map_err(|error| reader.not_yaml(&error))?;
    let mut lines: Vec<Line> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        if let Some(line) = reader.line(&key, value)? {
            if lines.iter().any(|earlier| earlier.key == line.key) {
                return Err(reader.wrong(key.referenced, format!("'{}' is there twice", line.key)));
            }
            lines.push(line);
        }
    }
    Ok(lines)
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    /// An entry without a value is as good as none.
    fn line(
        &self,
        key: &Spanned<String>,
        value: Spanned<Value>,
    ) -> Result<Option<Line>, ConfigError> {
        let known = SETTINGS.iter().find(|setting| setting.key == key.value);
        let setting = known.ok_or_else(|| self.wrong(key.referenced, unknown(&key.value)))?;
        let place = value.referenced;
        if value.value.is_null() {
            return Ok(None);
        }
        let text = scalar(&value.value).ok_or_else(|| {
            self.wrong(place, format!("{}: expected a text, a number or a list", setting.key))
        })?;
        let origin =
            Origin::File { path: self.path.to_owned(), line: place.line(), column: place.column() };
        Ok(Some(Line { key: setting.key, value: text, origin }))
    }

    fn wrong(&self, place: Location, message: String) -> ConfigError {
        ConfigError::Invalid {
            path: self.path.to_owned(),
            line: place.line(),
            column: place.column(),
            message,
        }
    }

    fn not_yaml(&self, error: &Error) -> ConfigError {
        let error = error.without_snippet();
        let text = error.render_with_formatter(&UserMessageFormatter);
        let first = text.lines().next().unwrap_or_default();
        // The place stands in front of the message already.
        let message = first
            .split(" at line ")
            .next()
            .unwrap_or(first)
            .trim_start_matches("error: ")
            .to_owned();
        self.wrong(error.location().unwrap_or(Location::UNKNOWN), message)
    }
}

fn unknown(key: &str) -> String {
    match nearest(key, SETTINGS.iter().map(|setting| setting.key)) {
        Some(near) => format!("unknown key '{key}', did you mean '{near}'?"),
        None => format!("unknown key '{key}'; `sluice config` lists those there are"),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Array(items) => {
            Some(items.iter().map(scalar).collect::<Option<Vec<_>>>()?.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// A mapping with the places of its keys and values.
struct Pairs(Vec<(Spanned<String>, Spanned<Value>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}
