use serde_json::json;

use super::*;
use crate::event::{Event, EventBody};
use crate::seal::sha256_hex;
use crate::timestamp::Timestamp;

const ID: &str = "hotfix-1";

fn key(byte: u8) -> SigningKey {
    SigningKey::new(&[byte; 32]).unwrap()
}

fn ring() -> KeyRing {
    [key(7)].into_iter().collect()
}

/// A run of five events.
fn history() -> Vec<StoredEvent> {
    let bodies = [
        json!({"action": "start_workflow", "data": {"context": {"pr": 1}, "template_name": "t.workflow.yaml",
            "template_version": "1.0", "template_sha256": "00", "participating_agents": []}}),
        json!({"action": "complete_step", "data": {"result": {"score": 91}, "next_step": "b"}}),
        json!({"action": "approve_gate", "data": {"approver": "ada", "approver_role": "tech_lead", "approval_id": "a"}}),
        json!({"action": "release_lock", "data": {"resource_lock": "x", "held_ms": 5}}),
        json!({"action": "complete_workflow", "data": {"status": "completed", "target": "workflow_complete"}}),
    ];
    let mut previous = hex(&GENESIS_HASH);
    bodies
        .into_iter()
        .zip(1..)
        .map(|(body, sequence)| sealed(&key(7), body, sequence, &mut previous))
        .collect()
}

fn sealed(key: &SigningKey, body: Value, sequence: u64, previous: &mut String) -> StoredEvent {
    let body: EventBody = serde_json::from_value(body).unwrap();
    let event = Event {
        event_id: format!("00000000-0000-4000-8000-{sequence:012}"),
        workflow_id: ID.parse().unwrap(),
        parent_workflow_id: None,
        sequence,
        step_id: (sequence == 2).then(|| "a".to_owned()),
        timestamp: Timestamp::from_micros(1_000_000 * i64::try_from(sequence).unwrap()),
        event_version: EVENT_VERSION,
        prev_hash: previous.clone(),
        key_id: key.key_id().to_owned(),
        body,
    };
    let sealed = key.seal(&event).unwrap();
    *previous = sha256_hex(&sealed.body);
    StoredEvent { sequence, body: sealed.body, signature: sealed.signature.to_vec() }
}

fn head(events: &[StoredEvent]) -> Head {
    let last = events.last().unwrap();
    Head {
        source: "the run's row".into(),
        sequence: last.sequence,
        hash: last.hash(),
        is_past: false,
    }
}

fn damages(events: &[StoredEvent]) -> Vec<(u64, Damage, String)> {
    let verdict = verify(ID, events, Some(&ring()), &[head(&history())]);
    verdict.findings.into_iter().map(|f| (f.sequence, f.damage, f.field)).collect()
}

#[test]
fn a_whole_record_has_no_findings_and_so_has_each_prefix() {
    let events = history();
    for n in 1..=events.len() {
        let verdict = verify(ID, &events[..n], Some(&ring()), &[head(&events[..n])]);
        assert_eq!(verdict.findings, []);
        assert_eq!(verdict.last_hash, hex(&events[n - 1].hash()));
    }
}

#[test]
fn an_export_is_the_same_record() {
    for stored in history() {
        let value: Value = serde_json::from_str(stored.to_export().get()).unwrap();
        assert_eq!(StoredEvent::from_export(&value, 9), stored);
    }
    for body in ["", "[]", "{}", "\u{0}", "{\"a\":1"] {
        let damaged = StoredEvent { body: body.as_bytes().to_vec(), ..history()[2].clone() };
        let value: Value = serde_json::from_str(damaged.to_export().get()).unwrap();
        let mut events = history();
        events[2] = StoredEvent::from_export(&value, 3);
        assert_eq!(damages(&events)[0], (3, Damage::Changed, "body".into()), "{body}");
    }
    for value in [json!([]), json!(null), json!({"sequence": "3"}), json!({})] {
        let mut events = history();
        events[2] = StoredEvent::from_export(&value, 3);
        assert_eq!(damages(&events)[0], (3, Damage::Changed, "body".into()), "{value}");
    }
}

/// Every way to a value in `value` that is no object.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, inner)| paths(inner, &format!("{path}/{name}"), found));
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn every_field_that_is_changed_is_noticed_at_its_event() {
    let (mut mutations, mut caught) = (0, 0);
    for index in 0..5 {
        let whole: Value = serde_json::from_slice(&history()[index].body).unwrap();
        let mut fields = Vec::new();
        paths(&whole, "", &mut fields);
        for field in fields {
            for other in [json!("x"), json!(8), Value::Null, json!({"more": true})] {
                let mut value = whole.clone();
                let place = value.pointer_mut(&field).unwrap();
                if *place == other {
                    continue;
                }
                *place = other;
                let mut events = history();
                events[index].body = serde_json_canonicalizer::to_vec(&value).unwrap();
                mutations += 1;
                let found = damages(&events);
                assert!(
                    found.iter().any(|f| f.0 == index as u64 + 1),
                    "{field} of {index}: {found:?}"
                );
                caught += 1;
            }
        }
    }
    assert!(mutations > 100, "only {mutations} mutations");
    assert_eq!(mutations, caught);
}

#[test]
fn the_kind_of_damage_is_named() {
    let check = |change: &dyn Fn(&mut Vec<StoredEvent>)| {
        let mut events = history();
        change(&mut events);
        damages(&events)
    };
    for n in 0..4_u64 {
        let found = check(&|events| drop(events.remove(n as usize)));
        assert_eq!(found[0], (n + 1, Damage::Removed, "sequence".into()), "{found:?}");
    }
    assert_eq!(check(&|events| drop(events.pop())), [(5, Damage::Truncated, "sequence".into())]);
    for n in 0..4 {
        let found = check(&|events| events.swap(n, n + 1));
        assert!(found.iter().any(|f| f.1 == Damage::Reordered), "{found:?}");
        // Whoever swaps may also renumber the rows.
        let found = check(&|events| {
            events.swap(n, n + 1);
            (events[n].sequence, events[n + 1].sequence) = (n as u64 + 1, n as u64 + 2);
        });
        assert!(found.iter().any(|f| f.1 == Damage::Reordered), "{found:?}");
    }
    let again = check(&|events| events.insert(2, events[1].clone()));
    assert!(again.iter().any(|f| f.1 == Damage::Inserted), "{again:?}");
    let stripped = check(&|events| events[2].signature.clear());
    assert_eq!(stripped, [(3, Damage::Unsigned, "signature".into())]);
    let flipped = check(&|events| events[2].signature[0] ^= 1);
    assert_eq!(flipped, [(3, Damage::Changed, "signature".into())]);
    let changed = check(&|events| {
        let text = String::from_utf8(events[1].body.clone())
            .unwrap()
            .replace("\"score\":91", "\"score\":99");
        events[1].body = text.into_bytes();
    });
    assert_eq!(changed, [(2, Damage::Changed, "body".into())]);
}

#[test]
fn a_forger_without_the_key_is_noticed() {
    let mut previous = history()[2].hash().to_vec();
    let mut previous_hex = hex(&previous);
    previous.clear();
    let body = json!({"action": "release_lock", "data": {"resource_lock": "y", "held_ms": 5}});
    let mut events = history();
    events[3] = sealed(&key(8), body, 4, &mut previous_hex);
    assert_eq!(damages(&events)[0], (4, Damage::WrongKey, "key_id".into()));
    let other_ring: KeyRing = [key(8)].into_iter().collect();
    let verdict = verify(ID, &history(), Some(&other_ring), &[]);
    assert_eq!(verdict.findings.len(), 5);
    assert!(verdict.findings.iter().all(|finding| finding.damage == Damage::WrongKey));
}

#[test]
fn a_forger_with_the_key_is_noticed_behind_a_checkpoint() {
    let mut events = history();
    let mut previous = hex(&events[2].hash());
    let body = json!({"action": "release_lock", "data": {"resource_lock": "y", "held_ms": 5}});
    events[3] = sealed(&key(7), body, 4, &mut previous);
    let end = json!({"action": "complete_workflow", "data": {"status": "completed", "target": "workflow_complete"}});
    events[4] = sealed(&key(7), end, 5, &mut previous);
    let checkpoint = Head { source: "checkpoint 1".into(), is_past: true, ..head(&history()) };
    let verdict = verify(ID, &events, Some(&ring()), &[head(&events), checkpoint.clone()]);
    assert_eq!(verdict.findings.len(), 1, "{verdict:?}");
    assert!(verdict.findings[0].detail.contains("checkpoint 1"));
    let shorter = verify(ID, &events[..3], Some(&ring()), &[head(&events[..3]), checkpoint]);
    assert_eq!(shorter.findings[0].damage, Damage::Truncated);
}

#[test]
fn events_of_another_run_are_strangers() {
    let verdict = verify("hotfix-2", &history(), Some(&ring()), &[]);
    assert!(
        verdict.findings.iter().all(|f| f.damage == Damage::Inserted && f.field == "workflow_id")
    );
    assert_eq!(verdict.findings.len(), 5);
}

#[test]
fn without_keys_the_chain_and_the_heads_still_tell() {
    let check = |events: &[StoredEvent]| verify(ID, events, None, &[head(&history())]);
    let whole = check(&history());
    assert_eq!((whole.findings.as_slice(), whole.signatures_checked), (&[][..], false));
    for n in 0..5 {
        let mut events = history();
        let text = String::from_utf8(events[n].body.clone()).unwrap().replace("00Z\"", "01Z\"");
        events[n].body = text.into_bytes();
        let found = check(&events).findings;
        assert_eq!((found[0].sequence, found[0].damage), (n as u64 + 1, Damage::Changed));
    }
}

#[test]
fn a_huge_number_is_told_in_one_line() {
    let mut events = history();
    let text = String::from_utf8(events[1].body.clone()).unwrap();
    events[1].body = text.replace("\"sequence\":2", "\"sequence\":9007199254740991").into_bytes();
    let verdict = verify(ID, &events, Some(&ring()), &[]);
    assert!(verdict.findings.len() < 1_100, "{}", verdict.findings.len());
}
