//! Whether the record of a run is what was written: needs the stored bytes and the keys, and no server.
//!
//! An HMAC says that an event was changed, not what in it: the field is named where a neighbour, the
//! place of storage or another field contradicts it, and is `body` otherwise. What was cut off at the
//! end shows only against a head that somebody else kept: the run's row or a checkpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::event::{EVENT_VERSION, Event};
use crate::seal::{GENESIS_HASH, SigningKey, hex};

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
    /// Reads an event of an export: its fields, and `signature` in hex.
    ///
    /// # Errors
    /// Says what keeps it from being an event at all.
    pub fn from_export(value: &Value) -> Result<Self, String> {
        let mut fields = value.as_object().cloned().ok_or("an event is a JSON object")?;
        let signature = fields.remove("signature").unwrap_or_default();
        let sequence = fields.get("sequence").and_then(Value::as_u64);
        let body = serde_json_canonicalizer::to_vec(&fields).map_err(|error| error.to_string())?;
        Ok(Self {
            sequence: sequence.ok_or("an event has a sequence, a whole number from 1")?,
            body,
            signature: signature
                .as_str()
                .and_then(|text| HEXLOWER.decode(text.as_bytes()).ok())
                .unwrap_or_default(),
        })
    }

    fn hash(&self) -> [u8; 32] {
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

/// Checks the events of one run in the order of storage, and against what others remember of it.
#[must_use]
pub fn verify(
    workflow_id: &str,
    events: &[StoredEvent],
    keys: &KeyRing,
    heads: &[Head],
) -> Verdict {
    let mut check = Check {
        workflow_id,
        keys,
        events,
        read: events.iter().map(|stored| serde_json::from_slice(&stored.body).ok()).collect(),
        verdict: Verdict { events: events.len() as u64, ..Verdict::default() },
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
    keys: &'a KeyRing,
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
            return self.find(index, Damage::Inserted, "workflow_id", &detail);
        }
        if event.event_version != EVENT_VERSION {
            let detail = format!("version {} is unknown", event.event_version);
            self.find(index, Damage::Changed, "event_version", &detail);
        }
        if serde_json_canonicalizer::to_vec(&event).ok().as_deref() != Some(&stored.body) {
            self.find(index, Damage::Changed, "body", "it holds more than an event's fields");
        }
    }

    fn signature(&self, stored: &StoredEvent, event: &Event) -> Option<(Damage, String)> {
        if stored.signature.is_empty() {
            return Some((Damage::Unsigned, "it bears no signature".to_owned()));
        }
        match self.keys.0.get(&event.key_id) {
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
            for missing in expected..sequence {
                match counts.contains_key(&missing) {
                    true => self.find(
                        index,
                        Damage::Reordered,
                        "sequence",
                        &format!("number {missing} comes later"),
                    ),
                    false => self.missing(missing, Damage::Removed, "it is not there"),
                }
            }
            if sequence == expected {
                self.link(index);
            }
            expected = sequence.saturating_add(1);
        }
    }

    /// Where the numbers are right, the chain must be.
    fn link(&mut self, index: usize) {
        let Some(event) = &self.read[index] else { return };
        let before = index.checked_sub(1).map_or(GENESIS_HASH, |i| self.events[i].hash());
        if event.prev_hash == hex(&before) {
            return;
        }
        let neighbour_is_found = index.checked_sub(1).is_some_and(|i| self.is_found(i));
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
