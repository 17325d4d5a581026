//! A record with every kind of event in it, signed as a coordinator signs.

use serde_json::Value;
use sluice_proto::api::VerifyResponse;
use sluice_proto::event::Event;
use sluice_proto::seal::{GENESIS_HASH, SigningKey, hex};
use sluice_proto::timestamp::Timestamp;
use sluice_proto::verify::{KeyRing, StoredEvent, verify};

/// The published example of each event, in an order in which they may happen.
const KINDS: [&str; 26] = [
    include_str!("../../../proto/golden/event.wait_lock.json"),
    include_str!("../../../proto/golden/event.acquire_lock.json"),
    include_str!("../../../proto/golden/event.fail_step.json"),
    include_str!("../../../proto/golden/event.retry_step.json"),
    include_str!("../../../proto/golden/event.record_output.json"),
    include_str!("../../../proto/golden/event.complete_step.json"),
    include_str!("../../../proto/golden/event.capture_insight.json"),
    include_str!("../../../proto/golden/event.start_branches.json"),
    include_str!("../../../proto/golden/event.start_timer.json"),
    include_str!("../../../proto/golden/event.start_child_workflow.json"),
    include_str!("../../../proto/golden/event.child_workflow_complete.json"),
    include_str!("../../../proto/golden/event.suspend_workflow.json"),
    include_str!("../../../proto/golden/event.continue_workflow.json"),
    include_str!("../../../proto/golden/event.pause_workflow.json"),
    include_str!("../../../proto/golden/event.notify.json"),
    include_str!("../../../proto/golden/event.approve_gate.json"),
    include_str!("../../../proto/golden/event.reject_gate.json"),
    include_str!("../../../proto/golden/event.resume_workflow.json"),
    include_str!("../../../proto/golden/event.escalate.json"),
    include_str!("../../../proto/golden/event.create_snapshot.json"),
    include_str!("../../../proto/golden/event.rollback_step.json"),
    include_str!("../../../proto/golden/event.release_lock.json"),
    include_str!("../../../proto/golden/event.annotate.json"),
    include_str!("../../../proto/golden/event.expire_workflow.json"),
    include_str!("../../../proto/golden/event.cancel_workflow.json"),
    include_str!("../../../proto/golden/event.complete_workflow.json"),
];
const START: &str = include_str!("../../../proto/golden/event.start_workflow.json");
const SECRET: &[u8] = b"a secret of tests, thirty-two bytes";

/// So many events as an export has them, half a second apart, and what a verification says of them.
pub(crate) fn record(events: usize) -> (Vec<Value>, VerifyResponse) {
    let key = SigningKey::new(SECRET).unwrap();
    let first: Event = serde_json::from_str(START).unwrap();
    let mut hash = GENESIS_HASH;
    let mut stored = Vec::with_capacity(events);
    for n in 0..events {
        let kind = if n == 0 { START } else { KINDS[(n - 1) % KINDS.len()] };
        let event: Event = serde_json::from_str(kind).unwrap();
        let micros = first.timestamp.as_micros() + n as i64 * 500_000;
        let event = Event {
            event_id: format!("018f6f3e-0000-7000-8000-{n:012}"),
            workflow_id: first.workflow_id.clone(),
            sequence: n as u64 + 1,
            timestamp: Timestamp::from_micros(micros),
            prev_hash: hex(&hash),
            key_id: key.key_id().to_owned(),
            ..event
        };
        let sealed = key.seal(&event).unwrap();
        hash = sealed.hash;
        stored.push(StoredEvent {
            sequence: event.sequence,
            body: sealed.body,
            signature: sealed.signature.to_vec(),
        });
    }
    let keys: KeyRing = [key].into_iter().collect();
    let verdict = verify(first.workflow_id.as_str(), &stored, Some(&keys), &[]);
    let exported =
        stored.iter().map(|event| serde_json::from_str(event.to_export().get()).unwrap());
    let verification = VerifyResponse {
        workflow_id: first.workflow_id.to_string(),
        valid: verdict.is_valid(),
        verdict,
        checkpointed: None,
    };
    (exported.collect(), verification)
}
