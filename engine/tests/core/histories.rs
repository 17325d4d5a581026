//! Looking back at random histories: at any event the state is what it was live, a kept state and what follows
//! it give the same, and every beginning of a record is a record.

use proptest::prelude::*;
use serde_json::json;
use sluice_engine::{Past, State, replay};
use sluice_proto::event::Event;
use sluice_proto::ids::WorkflowId;
use sluice_proto::seal::{GENESIS_HASH, SigningKey, hex};
use sluice_proto::verify::{Head, KeyRing, StoredEvent, verify};

use crate::properties::{Move, TEXTS, input, moves};
use crate::run::Run;

/// The run and its state after each input, by the number of its last event.
fn history(which: usize, moves: Vec<Move>) -> (Run, Vec<State>) {
    let mut run = Run::start_with(TEXTS[which], json!({"env": "a", "half": 0.1}));
    let mut live = vec![run.state.clone()];
    for one in moves {
        if let Move::Wait(ms) = one {
            run.later(ms);
        } else if let Some(input) = input(&run, one)
            && run.input(input).is_ok()
        {
            live.push(run.state.clone());
        }
    }
    (run, live)
}

fn sealed(key: &SigningKey, events: &[Event]) -> Vec<StoredEvent> {
    let mut previous = hex(&GENESIS_HASH);
    let seal = |event: &Event| {
        let mut event = event.clone();
        event.event_id = format!("{:032}", event.sequence);
        key.key_id().clone_into(&mut event.key_id);
        event.prev_hash = std::mem::take(&mut previous);
        let sealed = key.seal(&event).unwrap();
        previous = hex(&sealed.hash);
        let (body, signature) = (sealed.body, sealed.signature.to_vec());
        StoredEvent { sequence: event.sequence, body, signature }
    };
    events.iter().map(seal).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_past_is_what_it_was(which in 0..TEXTS.len(), moves in prop::collection::vec(moves(), 0..80)) {
        let (run, live) = history(which, moves);
        let key = SigningKey::new(b"a secret of the tests of histories").unwrap();
        let keys: KeyRing = [key.clone()].into_iter().collect();
        let stored = sealed(&key, &run.events);
        // What is folded later comes from the stored bytes.
        let events: Vec<Event> =
            stored.iter().map(|stored| Event::read(&stored.body, stored.sequence).unwrap()).collect();
        let id = WorkflowId::parse("run-1").unwrap();
        let mut past = Past::new(id.clone());
        for (n, event) in events.iter().enumerate() {
            past.apply(event);
            let sequence = n as u64 + 1;
            if let Some(then) = live.iter().find(|state| state.sequence == sequence) {
                prop_assert_eq!(past.state(), then);
            }
            let folded = replay(State::new(id.clone()), &events[..=n]);
            prop_assert_eq!(past.state(), &folded);
            if sequence.is_multiple_of(10) {
                let kept = serde_json::to_vec(past.state()).unwrap();
                let kept: State = serde_json::from_slice(&kept).unwrap();
                prop_assert_eq!(&replay(kept, &events[n + 1..]), &run.state);
            }
            let beginning = &stored[..=n];
            let head = Head {
                source: "the run's row".to_owned(),
                sequence,
                hash: beginning[n].hash(),
                is_past: false,
            };
            let verdict = verify("run-1", beginning, Some(&keys), &[head]);
            prop_assert_eq!(verdict.findings, vec![]);
        }
        prop_assert_eq!(past.state(), &run.state);
    }
}
