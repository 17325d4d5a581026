//! Reading events as they were written by this release and by older ones. What is stored stays as it is.

use serde_json::{Map, Value, json};

use super::{EVENT_VERSION, Event};

/// Bytes that are no event this release can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableEvent {
    /// A version that a later release writes, or nobody.
    #[error("event version {0} is unknown to this release")]
    Version(u64),
    /// Anything else.
    #[error("{0}")]
    Malformed(String),
}

/// Brings the fields of one version into the form of the next.
type Upcaster = fn(&mut Map<String, Value>, u64);

/// By the version they read, from 1 on without gaps.
const UPCASTERS: [Upcaster; 1] = [upcast_from_1];

impl Event {
    /// Reads stored bytes of any version up to this release's. `sequence` is the number under which they are
    /// stored, for versions that did not say it.
    ///
    /// # Errors
    /// The version is unknown, or the bytes are no event of it.
    pub fn read(body: &[u8], sequence: u64) -> Result<Self, UnreadableEvent> {
        // Nearly every event is of this version; the way through a value costs twice as much.
        let error = match serde_json::from_slice::<Self>(body) {
            Ok(event) if event.event_version == EVENT_VERSION => return Ok(event),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        upcast(body, sequence).map_err(|unreadable| match (unreadable, error) {
            (UnreadableEvent::Malformed(_), Some(error)) => malformed(&error),
            (unreadable, _) => unreadable,
        })
    }
}

fn upcast(body: &[u8], sequence: u64) -> Result<Event, UnreadableEvent> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let version = fields.get("event_version").and_then(Value::as_u64).unwrap_or(0);
    if version == 0 || version > u64::from(EVENT_VERSION) {
        return Err(UnreadableEvent::Version(version));
    }
    let first = usize::try_from(version - 1).unwrap_or(usize::MAX);
    for upcaster in UPCASTERS.iter().skip(first) {
        upcaster(&mut fields, sequence);
    }
    fields.insert("event_version".to_owned(), EVENT_VERSION.into());
    serde_json::from_value(Value::Object(fields)).map_err(|error| malformed(&error))
}

/// Version 1 knew neither signatures nor a chain, and counted nothing.
fn upcast_from_1(fields: &mut Map<String, Value>, sequence: u64) {
    let defaults = [
        ("parent_workflow_id", Value::Null),
        ("step_id", Value::Null),
        ("sequence", json!(sequence)),
        ("prev_hash", json!("0".repeat(64))),
        ("key_id", json!("")),
    ];
    for (name, value) in defaults {
        fields.entry(name).or_insert(value);
    }
}

fn malformed(error: &serde_json::Error) -> UnreadableEvent {
    UnreadableEvent::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventBody;

    fn old() -> Value {
        json!({
            "event_id": "e-1", "workflow_id": "hotfix-1", "event_version": 1,
            "timestamp": "2031-03-04T07:06:07+02:00", "action": "rollback_step",
            "step_id": "deploy", "data": {"reason": "errors", "by_step": "rollback"},
        })
    }

    fn read(value: &Value) -> Result<Event, UnreadableEvent> {
        Event::read(value.to_string().as_bytes(), 7)
    }

    #[test]
    fn an_old_event_is_read_as_one_of_today() {
        let event = read(&old()).unwrap();
        assert_eq!((event.event_version, event.sequence, &*event.key_id), (EVENT_VERSION, 7, ""));
        assert_eq!(event.timestamp.to_string(), "2031-03-04T05:06:07.000000Z");
        assert!(matches!(event.body, EventBody::RollbackStep(_)));
    }

    #[test]
    fn a_version_that_nobody_knows_is_an_error() {
        for version in [json!(0), json!(3), json!("2"), Value::Null] {
            let mut event = old();
            event["event_version"] = version.clone();
            assert!(matches!(read(&event), Err(UnreadableEvent::Version(_))), "{version}");
        }
        let mut event = old();
        event["event_version"] = json!(EVENT_VERSION);
        let error = read(&event).unwrap_err().to_string();
        assert!(error.contains("missing field"), "{error}");
        assert!(matches!(Event::read(b"\xff", 1), Err(UnreadableEvent::Malformed(_))));
    }
}
