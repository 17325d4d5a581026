//! The reference of the language: every example in it is a whole template, and together they show
//! every key.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice_engine::template;

use super::own::OWN;
use super::{DIALECT, keys};

const REFERENCE: &str = include_str!("../../../../templates/README.md");

/// File name, which stands in its first line, and text of each block of YAML.
fn examples() -> Vec<(&'static str, &'static str)> {
    let blocks = REFERENCE.split("```yaml\n").skip(1);
    let texts = blocks.map(|block| block.split_once("```").unwrap().0);
    let named = texts.map(|text| {
        let first = text.lines().next().unwrap_or_default();
        (first.strip_prefix("# ").unwrap_or_else(|| panic!("no file name: {first}")), text)
    });
    named.collect()
}

#[test]
fn every_example_loads_without_a_finding() {
    let mut names = BTreeSet::new();
    for (file, text) in examples() {
        assert!(file.ends_with(".workflow.yaml") && names.insert(file), "{file}");
        let loaded = template::load(file, text);
        let findings: Vec<String> = loaded.findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings, [""; 0]);
        assert!(loaded.template.is_some(), "{file}");
    }
    let blocks = REFERENCE.matches("```y").count();
    assert_eq!(names.len(), blocks, "a block of YAML is spelt otherwise");
}

#[test]
fn every_key_has_an_example() {
    let unused = keys::unused(examples().into_iter().map(|(_, text)| text));
    // Words of one key are a table's business, not an example's.
    let keys: Vec<&String> = unused.iter().filter(|name| !name.contains(" = ")).collect();
    assert!(keys.is_empty(), "no example shows {keys:#?}");
}

/// An editor underlines nothing in a template that is as it should be.
#[test]
fn the_schema_for_editors_takes_every_template() {
    let schema = jsonschema::validator_for(&template::schema()).unwrap();
    let own = OWN.templates.iter().chain(DIALECT.templates).copied();
    for (name, text) in examples().into_iter().chain(own) {
        let value: Value = serde_saphyr::from_str(text).unwrap();
        let problems: Vec<String> = schema
            .iter_errors(&value)
            .map(|problem| format!("{}: {problem}", problem.instance_path()))
            .collect();
        assert_eq!(problems, [""; 0], "{name}");
    }
    let wrong = json!({"name": "x", "steps": [{"id": "a", "type": "agent_call"}]});
    assert!(!schema.is_valid(&wrong), "a call without an agent");
}

/// Every key stands in a table beside what it means.
#[test]
fn every_key_is_explained() {
    let rows = REFERENCE.lines().filter(|line| line.starts_with("| `"));
    let explained: String = rows.collect();
    for name in keys::all() {
        let Some((_, key)) = name.split_once('.') else { continue };
        let key = if key == "on_*" { "on_<answer>" } else { key };
        let missing = !key.contains(" = ") && !explained.contains(&format!("`{key}`"));
        assert!(!missing, "no table of the reference has {name}");
    }
}
