//! Pins every message, event and API body to a file: golden JSON, JSON Schema, AsyncAPI.
//!
//! `SLUICE_BLESS=1 cargo test -p sluice-proto` writes the files anew. A changed golden file means
//! that older records and other people's workers see something new: think before blessing.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod catalogue;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use catalogue::{entries, pretty};
use sluice_proto::event::EventBody;

#[test]
fn values_are_written_and_read_as_pinned() {
    let samples: Vec<_> = entries().into_iter().flat_map(|entry| entry.samples).collect();
    for sample in &samples {
        let path = folder("golden").join(format!("{}.json", sample.name));
        check(&path, &sample.text);
        let pinned = fs::read_to_string(&path).unwrap();
        assert_eq!((sample.reencode)(&pinned), pinned, "{}", sample.name);
    }
    only_these("golden", samples.iter().map(|sample| sample.name.clone()));
}

#[test]
fn every_action_can_be_asked_for() {
    let event = entries().into_iter().find(|entry| entry.name == "event").unwrap();
    let written: BTreeSet<String> =
        event.samples.iter().map(|sample| sample.name.replacen("event.", "", 1)).collect();
    let known: BTreeSet<String> =
        EventBody::ACTIONS.iter().map(|&action| action.to_owned()).collect();
    assert_eq!(written, known);
    assert_eq!(EventBody::find_action("Complete_STEP"), Some("complete_step"));
}

#[test]
fn schemas_are_fresh() {
    for entry in entries() {
        check(&folder("schemas").join(format!("{}.json", entry.name)), &pretty(&entry.schema));
    }
    only_these("schemas", entries().iter().map(|entry| entry.name.to_owned()));
}

#[test]
fn asyncapi_is_fresh() {
    check(&folder("asyncapi.json"), &pretty(&catalogue::asyncapi::document(&entries())));
}

/// Fields that a later release adds must not trouble this one.
#[test]
fn unknown_fields_are_ignored() {
    for sample in entries().into_iter().flat_map(|entry| entry.samples) {
        let mut value: serde_json::Value = serde_json::from_str(&sample.text).unwrap();
        value["field_of_a_later_release"] = 1.into();
        assert_eq!((sample.reencode)(&value.to_string()), sample.text, "{}", sample.name);
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn blessing() -> bool {
    std::env::var_os("SLUICE_BLESS").is_some_and(|value| value == "1")
}

fn check(path: &Path, fresh: &str) {
    if blessing() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, fresh).unwrap();
    }
    let pinned = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; SLUICE_BLESS=1 writes it", path.display()));
    assert_eq!(pinned, fresh, "{} is stale; SLUICE_BLESS=1 writes it anew", path.display());
}

fn only_these(name: &str, expected: impl Iterator<Item = String>) {
    let expected: BTreeSet<String> = expected.map(|stem| format!("{stem}.json")).collect();
    for file in fs::read_dir(folder(name)).unwrap() {
        let file = file.unwrap();
        if expected.contains(&file.file_name().to_string_lossy().into_owned()) {
            continue;
        }
        assert!(blessing(), "nothing refers to {}", file.path().display());
        fs::remove_file(file.path()).unwrap();
    }
}
