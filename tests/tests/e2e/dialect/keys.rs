//! Which keys and fixed words of the language a set of templates leaves unused. The schema that the
//! engine publishes for editors is made from the tables it reads templates by, so it is the list.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice_engine::template::schema;

/// `table.key`, and `table.key = word` where only certain words are allowed.
pub(super) fn unused<'t>(texts: impl Iterator<Item = &'t str>) -> BTreeSet<String> {
    let schema = schema();
    let mut walk = Walk { schema: &schema, used: BTreeSet::new() };
    for text in texts {
        let template: Value = serde_saphyr::from_str(text).unwrap();
        walk.table("template", &schema, &template);
    }
    let used = walk.used;
    // A word that means the same under several keys is needed under one of them.
    let word = |name: &String| name.split_once(" = ").map(|(_, word)| word.to_owned());
    let words: BTreeSet<String> = used.iter().filter_map(word).collect();
    let is_used =
        |name: &String| used.contains(name) || word(name).is_some_and(|word| words.contains(&word));
    all().into_iter().filter(|name| !is_used(name)).collect()
}

/// All of them.
pub(super) fn all() -> BTreeSet<String> {
    let schema = schema();
    let definitions = schema["$defs"].as_object().unwrap();
    let tables = definitions.iter().map(|(name, table)| (name.as_str(), table));
    let mut names = BTreeSet::new();
    for (table, definition) in tables.chain([("template", &schema)]) {
        for (key, property) in definition["properties"].as_object().unwrap() {
            names.insert(format!("{table}.{key}"));
            let words = words(property).filter_map(Value::as_str);
            names.extend(words.map(|word| format!("{table}.{key} = {word}")));
        }
        if definition.get("patternProperties").is_some() {
            names.insert(format!("{table}.on_*"));
        }
    }
    // Absent is the same, and how everybody writes it.
    names.remove("template.priority = normal");
    assert!(names.len() > 80, "the schema is not what this walk expects: {names:?}");
    names
}

fn words(property: &Value) -> impl Iterator<Item = &Value> {
    let own = property["enum"].as_array().into_iter().flatten();
    own.chain(property["items"]["enum"].as_array().into_iter().flatten())
}

struct Walk<'s> {
    schema: &'s Value,
    used: BTreeSet<String>,
}

impl Walk<'_> {
    fn table(&mut self, name: &str, definition: &Value, value: &Value) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let property = &definition["properties"][key];
            if property.is_null() {
                assert!(key.starts_with("on_"), "{name} has no key {key}");
                self.used.insert(format!("{name}.on_*"));
                continue;
            }
            self.used.insert(format!("{name}.{key}"));
            let given: Vec<&Value> =
                value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
            let given = given.into_iter().filter_map(Value::as_str);
            self.used.extend(given.map(|word| format!("{name}.{key} = {word}")));
            self.follow(&property["$ref"], [value]);
            self.follow(&property["items"]["$ref"], value.as_array().into_iter().flatten());
            let by_name = value.as_object().into_iter().flat_map(|map| map.values());
            let lists = by_name.clone().flat_map(|list| list.as_array().into_iter().flatten());
            self.follow(&property["additionalProperties"]["items"]["$ref"], lists);
            self.follow(&property["additionalProperties"]["$ref"], by_name);
        }
    }

    fn follow<'v>(&mut self, reference: &Value, values: impl IntoIterator<Item = &'v Value>) {
        let Some(name) = reference.as_str().and_then(|path| path.strip_prefix("#/$defs/")) else {
            return;
        };
        let schema = self.schema;
        for value in values {
            self.table(name, &schema["$defs"][name], value);
        }
    }
}
