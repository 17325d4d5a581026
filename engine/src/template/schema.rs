//! A JSON Schema of the language, for completion and checks in editors.

use serde_json::{Map, Value, json};

use super::keys::{self, CHANNELS, Key, Shape, TIERS, Table};
use super::model::MAX_BRANCHES;

/// JSON Schema, draft 2020-12. It knows the forms that are meant to be written; the loader forgives
/// more. Keys that it does not know are allowed, as in the loader.
#[must_use]
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let mut schema = table_schema(&keys::TEMPLATE, &mut definitions);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluice workflow template",
    });
    if let (Value::Object(schema), Value::Object(head)) = (&mut schema, head) {
        schema.extend(head);
        schema.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

/// The definition of one kind of mapping; those below it go to `definitions`.
fn table_schema(table: &Table, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        let mut property = shape_schema(key.shape, definitions);
        if let Value::Object(property) = &mut property {
            property.insert("description".to_owned(), Value::from(description(key)));
        }
        properties.insert(key.name.to_owned(), property);
    }
    let mut schema = json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "required": required(table, |key| key.only.is_empty()),
    });
    if table.answers {
        schema["patternProperties"] = json!({"^on_.+$": {
            "type": "string",
            "description": "Next when the answer is the word after 'on_'.",
        }});
    }
    let conditions = required_by_type(table);
    if !conditions.is_empty() {
        schema["allOf"] = Value::Array(conditions);
    }
    schema
}

fn description(key: &Key) -> String {
    match key.only {
        [] => key.about.to_owned(),
        only => format!("{} Only for type {}.", key.about, only.join(", ")),
    }
}

fn required(table: &Table, wanted: impl Fn(&Key) -> bool) -> Vec<&'static str> {
    table.keys.iter().filter(|key| key.required && wanted(key)).map(|key| key.name).collect()
}

/// `if` the type is this one, `then` these keys are required.
fn required_by_type(table: &Table) -> Vec<Value> {
    let Some(Shape::Choice(types)) = table.key("type").map(|key| key.shape) else {
        return Vec::new();
    };
    let mut conditions = Vec::new();
    for kind in types {
        let needed = required(table, |key| key.only.contains(kind));
        if !needed.is_empty() {
            conditions.push(json!({
                "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
                "then": {"required": needed},
            }));
        }
    }
    conditions
}

fn shape_schema(shape: Shape, definitions: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Text | Shape::Template | Shape::Target | Shape::StepId | Shape::Agent => {
            json!({"type": "string"})
        }
        Shape::Verbatim => json!({"type": ["string", "number"]}),
        Shape::Condition => json!({"type": ["string", "boolean"]}),
        // Editors read YAML 1.2, where 'yes' and 'on' are text.
        Shape::Boolean => json!({"anyOf": [
            {"type": "boolean"},
            {"enum": ["true", "false", "yes", "no", "on", "off"]},
        ]}),
        Shape::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Shape::Choice(words) => json!({"enum": words}),
        Shape::Tier => json!({"enum": TIERS}),
        Shape::Duration => json!({"anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)$"},
        ]}),
        Shape::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Shape::Channels => json!({"type": "array", "items": {"enum": CHANNELS}}),
        Shape::Payload => json!({"type": "object"}),
        Shape::Map(table) => reference(table, definitions),
        Shape::List(table) => json!({"type": "array", "items": reference(table, definitions)}),
        Shape::Branches(table) => json!({"type": "object", "additionalProperties": {
            "type": "array",
            "items": reference(table, definitions),
        }}),
        Shape::Items => json!({"type": ["array", "string"]}),
        Shape::Join => json!({"anyOf": [
            {"enum": ["all", "any"]},
            {"type": "integer", "minimum": 1, "maximum": MAX_BRANCHES},
        ]}),
        Shape::ByStep(table) => {
            json!({"type": "object", "additionalProperties": reference(table, definitions)})
        }
    }
}

/// Defines the table once, and refers to it.
fn reference(table: &Table, definitions: &mut Map<String, Value>) -> Value {
    if !definitions.contains_key(table.name) {
        // Held in place, so that a table that contains itself would come to an end.
        definitions.insert(table.name.to_owned(), Value::Null);
        let schema = table_schema(table, definitions);
        definitions.insert(table.name.to_owned(), schema);
    }
    json!({"$ref": format!("#/$defs/{}", table.name)})
}
