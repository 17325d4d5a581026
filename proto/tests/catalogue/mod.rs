//! Everything that crosses a process boundary or is stored, with sample values: the one list behind
//! the golden files, the JSON Schemas and the AsyncAPI document.

mod api;
mod archive;
pub(crate) mod asyncapi;
mod breakers;
mod events;
mod messages;
mod operations;
mod pausing;
mod record;
mod roster;

use std::fmt::Debug;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_proto::timestamp::Timestamp;

/// Whether Sluice writes or reads a type. What it writes is described strictly (every field is
/// there); what it reads is described as leniently as it is read.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Written,
    Read,
}

/// One type.
pub(crate) struct Entry {
    /// Names the schema file, and the golden files with a sample's own name behind it.
    pub(crate) name: &'static str,
    pub(crate) schema: Value,
    pub(crate) samples: Vec<Sample>,
}

/// One value of a type.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Decodes the text and encodes it again; panics when the value is another one.
    pub(crate) reencode: Box<dyn Fn(&str) -> String>,
}

/// Every entry. A type that is not here has no golden file and no schema.
pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = messages::entries();
    entries.push(events::entry());
    entries.extend(roster::entries());
    entries.extend(api::entries());
    entries.extend(archive::entries());
    entries.extend(breakers::entries());
    entries.extend(pausing::entries());
    entries.extend(record::entries());
    entries.extend(operations::entries());
    entries
}

fn entry<T>(name: &'static str, direction: Direction, samples: Vec<(&str, T)>) -> Entry
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + JsonSchema + 'static,
{
    let samples = samples.into_iter().map(|(suffix, value)| sample(name, suffix, value)).collect();
    Entry { name, schema: schema::<T>(direction), samples }
}

fn sample<T>(name: &str, suffix: &str, value: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    let name = if suffix.is_empty() { name.to_owned() } else { format!("{name}.{suffix}") };
    let text = pretty(&value);
    let reencode = move |text: &str| {
        let decoded: T = serde_json::from_str(text).unwrap();
        assert_eq!(decoded, value);
        pretty(&decoded)
    };
    Sample { name, text, reencode: Box::new(reencode) }
}

/// Draft 7, because that is what AsyncAPI tools understand.
fn schema<T: JsonSchema>(direction: Direction) -> Value {
    let settings = match direction {
        Direction::Written => SchemaSettings::draft07().for_serialize(),
        Direction::Read => SchemaSettings::draft07().for_deserialize(),
    };
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The form of every generated file.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    text
}

fn moment(second: i64) -> Timestamp {
    // 2031-03-04T05:06:00Z
    Timestamp::from_micros((1_930_367_160 + second) * 1_000_000 + 120_000)
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().unwrap().clone()
}
