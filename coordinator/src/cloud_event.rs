//! Committed events for other systems: CloudEvents 1.0 in JSON.

use bytes::Bytes;
use serde_json::json;
use serde_json::value::RawValue;
use sluice_proto::event::Event;

/// The event as a CloudEvent; `sequence` is its place in the run's history.
pub(crate) fn encode(event: &Event, canonical: &[u8]) -> Option<Bytes> {
    let data: &RawValue = serde_json::from_slice(canonical).ok()?;
    let envelope = json!({
        "specversion": "1.0",
        "id": event.event_id,
        "source": "/sluice",
        "type": format!("sluice.{}", event.body.action()),
        "subject": event.workflow_id,
        "time": event.timestamp,
        "datacontenttype": "application/json",
        "sequence": event.sequence.to_string(),
        "data": data,
    });
    serde_json::to_vec(&envelope).ok().map(Bytes::from)
}
