//! What it costs to fold a run of 1,000 events: `cargo bench -p sluice-engine`.
//!
//! The run is made by the engine itself: steps under locks that fail three times before they work, with outputs
//! of some hundred bytes, and people's notes. `docs/performance.md` has the numbers.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on must stop")]

#[path = "../tests/core/run.rs"]
#[expect(dead_code, reason = "the tests of the engine use all of it")]
mod run;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use sluice_engine::{Input, State, replay};
use sluice_proto::event::{Annotate, Event};
use sluice_proto::seal::{GENESIS_HASH, SigningKey, hex};
use sluice_proto::verify::{Head, KeyRing, StoredEvent, verify};

use run::Run;

const EVENTS: usize = 1_000;
/// With nine events each, one more for the end, and fewer than a run may have.
const STEPS: usize = 98;
const FAILURES: usize = 3;

fn template() -> String {
    let step = |n: usize| {
        let next = match n + 1 {
            STEPS => "workflow_complete".to_owned(),
            next => format!("step-{next}"),
        };
        format!(
            "  - {{id: step-{n}, type: agent_call, agent: reader, resource_lock: \"place:{n}\", on_success: {next}}}\n"
        )
    };
    format!("steps:\n{}", (0..STEPS).map(step).collect::<String>())
}

/// A run of exactly [`EVENTS`] events that has ended well.
fn long_run() -> Run {
    let mut run = Run::start_with(&template(), json!({"pull_request": 4711, "branch": "main"}));
    for n in 0..STEPS {
        let step = format!("step-{n}");
        if n + 1 == STEPS {
            annotate(&mut run, EVENTS - 10);
        }
        run.grant(&step, &format!("place:{n}"), 1);
        for _ in 0..FAILURES {
            run.fail(&step, Some(true));
        }
        let files: Vec<String> =
            (0..12).map(|file| format!("src/part_{n}/file_{file}.rs")).collect();
        run.ok(&step, json!({"passed": true, "coverage": 87.5, "files": files}));
    }
    assert!(run.state.status.is_terminal());
    run
}

/// Adds notes until the run has so many events.
fn annotate(run: &mut Run, events: usize) {
    while run.events.len() < events {
        run.input(Input::Annotate(Annotate {
            operator: "alice@example.com".to_owned(),
            comment: "looked at it, and it is as it should be".to_owned(),
            event_id: None,
        }))
        .unwrap();
    }
}

/// The events as a coordinator stores them, and what its row says of them.
fn seal(key: &SigningKey, events: &[Event]) -> (Vec<StoredEvent>, Head) {
    let mut head = GENESIS_HASH;
    let seal = |(n, event): (usize, &Event)| {
        let event = Event {
            event_id: format!("018f6f3e-0000-7000-8000-{n:012}"),
            prev_hash: hex(&head),
            key_id: key.key_id().to_owned(),
            ..event.clone()
        };
        let sealed = key.seal(&event).unwrap();
        head = sealed.hash;
        StoredEvent {
            sequence: event.sequence,
            body: sealed.body,
            signature: sealed.signature.to_vec(),
        }
    };
    let stored: Vec<StoredEvent> = events.iter().enumerate().map(seal).collect();
    let source = "the run's row".to_owned();
    let sequence = stored.len() as u64;
    (stored, Head { source, sequence, hash: head, is_past: false })
}

fn read(stored: &[StoredEvent]) -> Vec<Event> {
    stored.iter().map(|stored| Event::read(&stored.body, stored.sequence).unwrap()).collect()
}

fn benches(criterion: &mut Criterion) {
    let run = long_run();
    let key = SigningKey::new(b"a secret of the benchmark, 32 bytes and more").unwrap();
    let (stored, head) = seal(&key, &run.events);
    let (keys, heads): (KeyRing, _) = ([key].into_iter().collect(), [head]);
    let id = run.state.workflow_id.clone();
    assert_eq!(stored.len(), EVENTS);
    assert_eq!(replay(State::new(id.clone()), &read(&stored)), run.state);
    assert!(verify(id.as_str(), &stored, Some(&keys), &heads).is_valid());

    let mut group = criterion.benchmark_group("1000 events");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("fold", |bench| {
        bench.iter(|| replay(State::new(id.clone()), black_box(&run.events)));
    });
    group.bench_function("read and fold", |bench| {
        bench.iter(|| replay(State::new(id.clone()), &read(black_box(&stored))));
    });
    group.bench_function("verify", |bench| {
        bench.iter(|| verify(id.as_str(), black_box(&stored), Some(&keys), &heads));
    });
    group.bench_function("verify, read and fold", |bench| {
        bench.iter(|| {
            let verdict = verify(id.as_str(), black_box(&stored), Some(&keys), &heads);
            assert!(verdict.is_valid());
            replay(State::new(id.clone()), &read(&stored))
        });
    });
    group.finish();
}

criterion_group!(replays, benches);
criterion_main!(replays);
