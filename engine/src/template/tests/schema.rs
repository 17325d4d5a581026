use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::template::keys::{self, Shape, Table};

/// Every table that can be reached from the top.
fn tables() -> Vec<&'static Table> {
    let mut tables: Vec<&Table> = vec![&keys::TEMPLATE];
    let mut next = 0;
    while let Some(table) = tables.get(next).copied() {
        next += 1;
        for key in table.keys {
            if let Shape::Map(below) | Shape::List(below) | Shape::ByStep(below) = key.shape
                && !tables.iter().any(|known| known.name == below.name)
            {
                tables.push(below);
            }
        }
    }
    tables
}

#[test]
fn the_schema_has_every_key_of_the_tables_and_no_other() {
    let schema = schema();
    let tables = tables();
    for table in &tables {
        let definition =
            if table.name == "template" { &schema } else { &schema["$defs"][table.name] };
        let defined: BTreeSet<_> =
            definition["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let known: BTreeSet<_> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(defined, known, "{}", table.name);
        assert_eq!(definition.get("patternProperties").is_some(), table.answers);
        for (name, property) in definition["properties"].as_object().unwrap() {
            assert!(
                property["description"].as_str().is_some_and(|about| !about.is_empty()),
                "{name}"
            );
        }
    }
    assert_eq!(schema["$defs"].as_object().unwrap().len(), tables.len() - 1);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn the_schema_names_the_closed_sets() {
    let schema = schema();
    let step = &schema["$defs"]["step"]["properties"];
    let words = |value: &Value| value["enum"].as_array().unwrap().len();
    assert_eq!(words(&step["type"]), 9);
    assert_eq!(words(&step["channels"]["items"]), 6);
    assert_eq!(words(&schema["properties"]["priority"]), 2);
    assert_eq!(words(&schema["$defs"]["error_handling"]["properties"]["recovery_tier"]), 5);
    assert_eq!(schema["required"], serde_json::json!(["name", "steps"]));
    let needed = &schema["$defs"]["step"]["allOf"][0]["then"]["required"];
    assert_eq!(*needed, serde_json::json!(["agent"]));
}

/// The fixture that loads into the model must not leave out a key that the tables know.
#[test]
fn the_fixture_has_every_key() {
    for table in tables() {
        for key in table.keys {
            assert!(EVERY_KEY.contains(&format!("{}:", key.name)), "{}.{}", table.name, key.name);
        }
    }
}
