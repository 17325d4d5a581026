//! Whether the record of a run is what was written: needs the stored bytes and the keys, and no server.
//!
//! An HMAC says that an event was changed, not what in it: the field is named where a neighbour, the
//! place of storage or another field contradicts it, and is `body` otherwise. What was cut off at the
//! end shows only against a head that somebody else kept: the run's row or a checkpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::event::{EVENT_VERSION, Event};
use crate::seal::{GENESIS_HASH, SigningKey, hex};

/// Missing events of one gap that are told one by one.
const MAX_TOLD: u64 = 1_000;

/// Every secret that may have signed an event, by the id of its key.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(BTreeMap<String, SigningKey>);

impl FromIterator<SigningKey> for KeyRing {
    fn from_iter<I: IntoIterator<Item = SigningKey>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key.key_id().to_owned(), key)).collect())
    }
}

impl KeyRing {
    /// Ids of the keys that are known.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The key of this id.
    #[must_use]
    pub fn find(&self, key_id: &str) -> Option<&SigningKey> {
        self.0.get(key_id)
    }
}

/// An event as it lies in the database, an archive or an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The sequence it is stored under.
    pub sequence: u64,
    /// Canonical bytes of every field except `signature`.
    pub body: Vec<u8>,
    /// 32 bytes; anything else is a finding.
    pub signature: Vec<u8>,
}

impl StoredEvent {
    /// Reads an event of an export: its fields, and `signature` in hex. What is no event is kept for
    /// [`verify`] to find; `position` is its place in the file, from 1.
    #[must_use]
    pub fn from_export(value: &Value, position: u64) -> Self {
        let mut fields = value.clone();
        let signature = fields.as_object_mut().and_then(|fields| fields.remove("signature"));
        Self {
            sequence: fields.get("sequence").and_then(Value::as_u64).unwrap_or(position),
            body: serde_json_canonicalizer::to_vec(&fields).unwrap_or_default(),
            signature: signature
                .as_ref()
                .and_then(Value::as_str)
                .and_then(|text| HEXLOWER.decode(text.as_bytes()).ok())
                .unwrap_or_default(),
        }
    }

    /// The event as an export has it: its fields as they are stored, and `signature`. What is no JSON object
    /// stands in `unreadable`, in hex.
    #[must_use]
    pub fn to_export(&self) -> Box<RawValue> {
        let signature = hex(&self.signature);
        let fields = std::str::from_utf8(&self.body)
            .ok()
            .filter(|_| serde_json::from_slice::<Map<String, Value>>(&self.body).is_ok())
            .and_then(|text| text.trim_end().strip_suffix('}'));
        let text = match fields {
            Some(fields) if !fields.trim_end().ends_with('{') => {
                format!("{fields},\"signature\":\"{signature}\"}}")
            }
            _ => format!(
                "{{\"sequence\":{},\"signature\":\"{signature}\",\"unreadable\":\"{}\"}}",
                self.sequence,
                hex(&self.body)
            ),
        };
        RawValue::from_string(text).unwrap_or_default()
    }

    /// SHA-256 of the canonical bytes: what the next event names.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.body).into()
    }
}

/// How far a run had come, as somebody other than its events remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Who says so, for people: `the run's row`, `checkpoint 12`.
    pub source: String,
    /// Number of events.
    pub sequence: u64,
    /// SHA-256 of the last event's canonical bytes.
    pub hash: [u8; 32],
    /// Whether the run may have gone on since.
    pub is_past: bool,
}

/// What was done to a record.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// A field differs from what was signed.
    Changed,
    /// An event is missing between others.
    Removed,
    /// Events stand in another order.
    Reordered,
    /// An event was added that does not belong here.
    Inserted,
    /// Events are missing at the end.
    Truncated,
    /// No known key signed it.
    WrongKey,
    /// It bears no signature.
    Unsigned,
}

/// One thing that is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Sequence of the event it is about.
    pub sequence: u64,
    /// Its `event_id`, if it can be read.
    pub event_id: Option<String>,
    /// What was done.
    pub damage: Damage,
    /// The field that shows it.
    pub field: String,
    /// For people.
    pub detail: String,
}

/// What became of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Events looked at.
    pub events: u64,
    /// Keys that signed them, as the events say.
    pub key_ids: BTreeSet<String>,
    /// Lower hex SHA-256 of the last event's canonical bytes; empty without events.
    pub last_hash: String,
    /// Whether the signatures were looked at; without the secrets only the chain and what others
    /// remember of the run can be.
    #[serde(default)]
    pub signatures_checked: bool,
    /// Everything that is wrong; empty when the record is whole.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks the events of one run in the order of storage, and against what others remember of it. Without
/// keys the chain is followed and no signature is looked at.
#[must_use]
pub fn verify(
    workflow_id: &str,
    events: &[StoredEvent],
    keys: Option<&KeyRing>,
    heads: &[Head],
) -> Verdict {
    let mut check = Check {
        workflow_id,
        keys,
        events,
        read: events.iter().map(|stored| Event::read(&stored.body, stored.sequence).ok()).collect(),
        verdict: Verdict {
            events: events.len() as u64,
            signatures_checked: keys.is_some(),
            ..Verdict::default()
        },
    };
    for index in 0..events.len() {
        check.event(index);
    }
    check.order();
    for head in heads {
        check.head(head);
    }
    if let Some(last) = events.last() {
        check.verdict.last_hash = hex(&last.hash());
    }
    check.verdict.findings.sort_by_key(|finding| finding.sequence);
    check.verdict
}

struct Check<'a> {
    workflow_id: &'a str,
    keys: Option<&'a KeyRing>,
    events: &'a [StoredEvent],
    /// As far as they can be read.
    read: Vec<Option<Event>>,
    verdict: Verdict,
}

impl Check<'_> {
    fn event(&mut self, index: usize) {
        let stored = &self.events[index];
        let Some(event) = self.read[index].clone() else {
            return self.find(index, Damage::Changed, "body", "it cannot be read as an event");
        };
        self.verdict.key_ids.insert(event.key_id.clone());
        if let Some((damage, detail)) = self.signature(stored, &event) {
            let field = if damage == Damage::Changed {
                self.changed_field(index, &event)
            } else {
                "signature"
            };
            let field = if damage == Damage::WrongKey { "key_id" } else { field };
            return self.find(index, damage, field, &detail);
        }
        if event.workflow_id.as_str() != self.workflow_id {
            let detail = format!("it was signed for run {}", event.workflow_id);
            self.find(index, Damage::Inserted, "workflow_id", &detail);
        }
    }

    fn signature(&self, stored: &StoredEvent, event: &Event) -> Option<(Damage, String)> {
        if stored.signature.is_empty() && self.keys.is_some() {
            return Some((Damage::Unsigned, "it bears no signature".to_owned()));
        }
        match self.keys?.find(&event.key_id) {
            None => Some((Damage::WrongKey, format!("key {} is not known here", event.key_id))),
            Some(key) if key.verify(&stored.body, &stored.signature) => None,
            Some(_) => {
                Some((Damage::Changed, "its signature does not belong to its content".to_owned()))
            }
        }
    }

    /// The field in which an event with a wrong signature contradicts what lies around it.
    fn changed_field(&self, index: usize, event: &Event) -> &'static str {
        let before = index.checked_sub(1).map_or(GENESIS_HASH, |i| self.events[i].hash());
        let after = self.read.get(index + 1).and_then(Option::as_ref);
        if after.is_some_and(|next| next.prev_hash == hex(&self.events[index].hash())) {
            // Whoever came next had seen just this content.
            return "signature";
        }
        if event.workflow_id.as_str() != self.workflow_id {
            return "workflow_id";
        }
        if event.sequence != self.events[index].sequence {
            return "sequence";
        }
        if event.event_version != EVENT_VERSION {
            return "event_version";
        }
        if event.prev_hash != hex(&before) { "prev_hash" } else { "body" }
    }

    /// Sequences and the chain.
    fn order(&mut self) {
        let signed: Vec<u64> = (0..self.events.len()).map(|index| self.sequence(index)).collect();
        let mut counts: HashMap<u64, usize> = HashMap::new();
        signed.iter().for_each(|sequence| *counts.entry(*sequence).or_default() += 1);
        let mut expected = 1;
        for (index, &sequence) in signed.iter().enumerate() {
            if self.events[index].sequence != sequence && !self.is_found(index) {
                let detail = format!("it is stored as number {}", self.events[index].sequence);
                self.find(index, Damage::Reordered, "sequence", &detail);
            }
            if sequence < expected {
                let again = signed[..index].contains(&sequence);
                let damage = if again { Damage::Inserted } else { Damage::Reordered };
                self.find(
                    index,
                    damage,
                    "sequence",
                    &format!("number {sequence} stands behind number {}", expected - 1),
                );
                continue;
            }
            self.gap(index, expected, sequence, &counts);
            if sequence == expected {
                self.link(index);
            }
            expected = sequence.saturating_add(1);
        }
    }

    /// Numbers from `expected` up to `sequence` that do not stand before the event at `index`. A number that
    /// somebody has made huge is told in one line.
    fn gap(&mut self, index: usize, expected: u64, sequence: u64, counts: &HashMap<u64, usize>) {
        let told = sequence.min(expected.saturating_add(MAX_TOLD));
        for missing in expected..told {
            match counts.contains_key(&missing) {
                true => {
                    let detail = format!("number {missing} comes later");
                    self.find(index, Damage::Reordered, "sequence", &detail);
                }
                false => self.missing(missing, Damage::Removed, "it is not there"),
            }
        }
        if told < sequence {
            let detail = format!("nor are those up to number {}", sequence - 1);
            self.missing(told, Damage::Removed, &detail);
        }
    }

    /// Where the numbers are right, the chain must be.
    fn link(&mut self, index: usize) {
        let Some(event) = &self.read[index] else { return };
        let before = index.checked_sub(1).map_or(GENESIS_HASH, |i| self.events[i].hash());
        if event.prev_hash == hex(&before) {
            return;
        }
        let neighbour = index.checked_sub(1);
        if let Some(neighbour) = neighbour.filter(|_| self.keys.is_none()) {
            let detail = "the event after it follows on another content";
            return self.find(neighbour, Damage::Changed, "body", detail);
        }
        let neighbour_is_found = neighbour.is_some_and(|i| self.is_found(i));
        // A change is told once, at the event that was changed.
        if !self.is_found(index) && !neighbour_is_found {
            self.find(
                index,
                Damage::Inserted,
                "prev_hash",
                "it does not follow on the event before it",
            );
        }
    }

    fn head(&mut self, head: &Head) {
        let there = self.events.len() as u64;
        if there < head.sequence {
            let detail = format!("{} knows {} events", head.source, head.sequence);
            return self.missing(there + 1, Damage::Truncated, &detail);
        }
        if there > head.sequence && !head.is_past {
            let index = usize::try_from(head.sequence).unwrap_or(usize::MAX);
            let detail = format!("{} ends at number {}", head.source, head.sequence);
            return self.find(index, Damage::Inserted, "sequence", &detail);
        }
        let index = head.sequence.checked_sub(1).and_then(|i| usize::try_from(i).ok());
        if let Some(index) = index
            && self.events[index].hash() != head.hash
            && !self.is_found(index)
        {
            let detail = format!("{} remembers another content", head.source);
            self.find(index, Damage::Changed, "body", &detail);
        }
    }

    /// The sequence it claims; the one it is stored under if it cannot be read.
    fn sequence(&self, index: usize) -> u64 {
        self.read[index].as_ref().map_or(self.events[index].sequence, |event| event.sequence)
    }

    fn is_found(&self, index: usize) -> bool {
        let sequence = self.events[index].sequence;
        self.verdict.findings.iter().any(|finding| finding.sequence == sequence)
    }

    fn find(&mut self, index: usize, damage: Damage, field: &str, detail: &str) {
        self.verdict.findings.push(Finding {
            sequence: self.events[index].sequence,
            event_id: self.read[index].as_ref().map(|event| event.event_id.clone()),
            damage,
            field: field.to_owned(),
            detail: detail.to_owned(),
        });
    }

    fn missing(&mut self, sequence: u64, damage: Damage, detail: &str) {
        self.verdict.findings.push(Finding {
            sequence,
            event_id: None,
            damage,
            field: "sequence".to_owned(),
            detail: detail.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests;
