//! The OpenAPI document is committed, so that a change of the API shows in a review.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::harness::{World, answer_well, test};

#[test]
fn the_snapshot_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let fresh = serde_json::to_string_pretty(&sluice_gateway::openapi()).unwrap() + "\n";
    if std::env::var_os("SLUICE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &fresh).unwrap();
    }
    let pinned = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(pinned, fresh, "{} is stale; SLUICE_BLESS=1 writes it anew", path.display());
}

#[test]
fn every_reference_leads_somewhere() {
    let document = sluice_gateway::openapi();
    let mut references = BTreeSet::new();
    gather(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn gather(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| gather(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
        _ => {}
    }
}

#[test]
fn it_is_served() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        assert_eq!(world.get("/openapi.json").await.json(), sluice_gateway::openapi());
    });
}
