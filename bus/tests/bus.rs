//! The bus against a real NATS server.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod api;
mod nats;

use std::time::Duration;

use async_nats::jetstream::stream::{Config, StorageType};
use futures::StreamExt;
use serde_json::{Value, json};
use sluice_bus::{Actor, ApiCallError, Bus, BusConfig, BusError, Delivery, StepMessage};
use sluice_proto::error::{ApiError, ErrorCode, FieldError};
use sluice_proto::ids::AgentName;

use nats::NatsServer;

/// Longer than anything here takes; only a failure waits this long.
const SOON: Duration = Duration::from_secs(15);

fn agent() -> AgentName {
    AgentName::parse("code-review").unwrap()
}

fn step(urgent: bool, id: &str) -> StepMessage {
    let (message_id, body) = (id.to_owned(), id.to_owned().into());
    StepMessage { agent: agent(), urgent, message_id, traceparent: None, body }
}

fn steps(range: std::ops::Range<usize>) -> Vec<StepMessage> {
    range.map(|n| step(false, &format!("m{n}"))).collect()
}

fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|d| std::str::from_utf8(&d.payload).unwrap()).collect()
}

async fn ready(bus: &Bus) {
    bus.ensure_topology().await.unwrap();
    bus.ensure_step_consumers(&[agent()]).await.unwrap();
}

async fn publish(bus: &Bus, steps: Vec<StepMessage>) {
    for result in bus.publish_steps(steps).await {
        result.unwrap();
    }
}

async fn raw(server: &NatsServer) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

#[tokio::test]
async fn topology_is_made_once_by_many() {
    let server = NatsServer::start(&[]);
    let (a, b) = (server.bus("worker").await, server.bus("coordinator").await);
    let (one, two) = tokio::join!(ready(&a), ready(&b));
    let ((), ()) = (one, two);
    ready(&a).await;
    let raw = raw(&server).await;
    let stream = raw.get_stream("T_STEPS").await.unwrap();
    let config = &stream.cached_info().config;
    assert_eq!(config.subjects, ["t.step.>"]);
    assert_eq!((config.max_bytes, config.max_messages, config.max_message_size), (-1, -1, -1));
    assert_eq!(config.duplicate_window, Duration::from_secs(120));
    assert_eq!(stream.cached_info().state.consumer_count, 2);
    assert_eq!(
        raw.get_stream("T_EVENTS").await.unwrap().cached_info().config.storage,
        StorageType::Memory
    );
    assert!(a.max_payload() < 1_048_576 && a.max_payload() > 1_000_000);
    assert!(a.server_version().starts_with("2."));
}

#[tokio::test]
async fn streams_of_another_shape_are_brought_into_ours() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("coordinator").await;
    let raw = raw(&server).await;
    let other = |name: &str, subject: &str, storage| Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        max_messages: 5,
        storage,
        ..Config::default()
    };
    // What can be changed is changed in place, what cannot be is made anew where nothing is lost by it.
    raw.create_stream(other("T_STEPS", "t.step.a", StorageType::Memory)).await.unwrap();
    raw.create_stream(other("T_EVENTS", "t.event.x", StorageType::Memory)).await.unwrap();
    let created = raw.get_stream("T_EVENTS").await.unwrap().cached_info().created;
    ready(&bus).await;
    let events = raw.get_stream("T_EVENTS").await.unwrap();
    assert_eq!(events.cached_info().created, created);
    assert_eq!(events.cached_info().config.max_messages, -1);
    let steps = raw.get_stream("T_STEPS").await.unwrap();
    assert_eq!(steps.cached_info().config.storage, StorageType::File);

    // Commands nobody has taken yet are nowhere else.
    raw.delete_stream("T_COMMANDS").await.unwrap();
    raw.create_stream(other("T_COMMANDS", "t.command.v1.>", StorageType::Memory)).await.unwrap();
    bus.publish_command("workflow.execute", "{}", "1").await.unwrap();
    let error = bus.ensure_topology().await.unwrap_err().to_string();
    assert!(error.contains("it holds 1 commands"), "{error}");
}

#[tokio::test]
async fn urgent_commands_come_first() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("worker").await;
    ready(&bus).await;
    publish(&bus, vec![step(false, "n1"), step(false, "n2"), step(true, "u1"), step(true, "u2")])
        .await;
    let mut puller = bus.step_puller(&agent());
    assert_eq!(bodies(&puller.next(3, SOON).await.unwrap()), ["u1", "u2", "n1"]);
    publish(&bus, vec![step(true, "u3")]).await;
    assert_eq!(bodies(&puller.next(1, SOON).await.unwrap()), ["u3"]);
    assert_eq!(bodies(&puller.next(3, SOON).await.unwrap()), ["n2"]);
}

#[tokio::test]
async fn no_more_is_taken_than_there_is_room_for() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("worker").await;
    ready(&bus).await;
    let mut puller = bus.step_puller(&agent());
    // Idle first, so that a request waits in each lane.
    assert!(puller.next(2, Duration::ZERO).await.unwrap().is_empty());
    publish(&bus, steps(0..9)).await;
    let mut held = puller.next(1, SOON).await.unwrap();
    while held.len() < 4 {
        let room = 4 - held.len();
        held.extend(puller.next(room, SOON).await.unwrap());
    }
    assert_eq!(bodies(&held), ["m0", "m1", "m2", "m3"]);
    let lane = bus.step_lane(&agent(), false).await.unwrap();
    assert_eq!((lane.ack_pending, lane.pending), (4, 5));
    puller.pause();

    // The urgent lane's request still waits, and there is no room: what it brings goes on to others.
    publish(&bus, vec![step(true, "u")]).await;
    let mut other = bus.step_puller(&agent());
    let passed_on = other.next(1, SOON).await.unwrap();
    assert_eq!(bodies(&passed_on), ["u"]);
}

#[tokio::test]
async fn one_slot_and_two_lanes() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("worker").await;
    ready(&bus).await;
    let mut puller = bus.step_puller(&agent());
    let mut seen = Vec::new();
    for round in 0..20 {
        let both = vec![step(true, &format!("u{round}")), step(false, &format!("n{round}"))];
        let (pulled, ()) = tokio::join!(puller.next(1, SOON), publish(&bus, both));
        let mut pulled = pulled.unwrap();
        assert_eq!(pulled.len(), 1);
        seen.append(&mut pulled);
        seen.last().unwrap().ack().await.unwrap();
        pulled = puller.next(1, SOON).await.unwrap();
        assert_eq!(pulled.len(), 1);
        pulled[0].ack().await.unwrap();
        seen.append(&mut pulled);
    }
    let mut names = bodies(&seen);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 40, "each exactly once");
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("worker").await;
    ready(&bus).await;
    let mut puller = bus.step_puller(&agent());
    for round in 0..10 {
        let id = format!("m{round}");
        let dropped = tokio::time::timeout(Duration::from_millis(1), puller.next(1, SOON));
        let (early, ()) = tokio::join!(dropped, publish(&bus, vec![step(false, &id)]));
        let got = match early {
            Ok(got) => got.unwrap(),
            Err(_) => puller.next(1, SOON).await.unwrap(),
        };
        assert_eq!(bodies(&got), [id.as_str()]);
        got[0].ack_confirmed().await.unwrap();
    }
    let lane = bus.step_lane(&agent(), false).await.unwrap();
    assert_eq!((lane.ack_pending, lane.pending), (0, 0));
}

#[tokio::test]
async fn publishes_are_pipelined_and_stored_once() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("coordinator").await;
    ready(&bus).await;
    let first = bus.publish_steps(steps(0..2_500)).await;
    let sequences: Vec<u64> = first.iter().map(|r| r.as_ref().unwrap().stream_sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    let again = bus.publish_steps(steps(2_400..2_600)).await;
    let duplicates = again.iter().filter(|r| r.as_ref().unwrap().duplicate).count();
    assert_eq!(duplicates, 100);
    assert_eq!(again[0].as_ref().unwrap().stream_sequence, sequences[2_400]);

    let large = StepMessage { body: vec![b'x'; 2_000_000].into(), ..step(false, "large") };
    let mixed = bus.publish_steps(vec![step(false, "a"), large, step(false, "b")]).await;
    assert!(mixed[0].is_ok() && mixed[2].is_ok());
    assert_eq!(mixed[1], Err(BusError::TooLarge));
}

#[tokio::test]
async fn a_deleted_stream_comes_back() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("coordinator").await;
    ready(&bus).await;
    let raw = raw(&server).await;
    let before = bus.step_lane(&agent(), false).await.unwrap();
    assert!(before.exists);
    let mut puller = bus.step_puller(&agent());
    assert!(puller.next(1, Duration::ZERO).await.unwrap().is_empty());
    let mut commands = bus.command_puller();
    assert!(commands.next(1, Duration::ZERO).await.unwrap().is_empty());
    raw.delete_stream("T_STEPS").await.unwrap();
    raw.delete_stream("T_COMMANDS").await.unwrap();
    assert!(!bus.step_lane(&agent(), false).await.unwrap().exists);
    bus.publish_command("workflow.execute", "{}", "1").await.unwrap();

    publish(&bus, vec![step(false, "after"), step(false, "after2")]).await;
    // The lane was empty when it was looked at, or not: one call may bring the first of them only.
    let mut got = puller.next(2, SOON).await.unwrap();
    if got.len() < 2 {
        got.extend(puller.next(1, SOON).await.unwrap());
    }
    assert_eq!(bodies(&got), ["after", "after2"]);
    assert_eq!(commands.next(1, SOON).await.unwrap()[0].subject, "t.command.v1.workflow.execute");
    let after = bus.step_lane(&agent(), false).await.unwrap();
    assert!(after.exists && after.stream_created_micros > before.stream_created_micros);

    // Deleted under a request that waits in it.
    let mut puller = bus.step_puller(&agent());
    assert!(puller.next(1, Duration::ZERO).await.unwrap().is_empty());
    let bringing_back = async {
        raw.delete_stream("T_STEPS").await.unwrap();
        // Taken by a stream that is on its way out, it is lost without a word; then it is sent again.
        while bus.publish_steps(vec![step(false, "again")]).await[0].is_err() {}
    };
    let (got, ()) = tokio::join!(puller.next(1, SOON), bringing_back);
    assert_eq!(bodies(&got.unwrap()), ["again"]);
}

#[tokio::test]
async fn a_lane_says_how_far_it_has_come() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("coordinator").await;
    ready(&bus).await;
    publish(&bus, vec![step(true, "u"), step(false, "a"), step(false, "b"), step(false, "c")])
        .await;
    let mut puller = bus.step_puller(&agent());
    let held = puller.next(3, SOON).await.unwrap();
    assert_eq!(bodies(&held), ["u", "a", "b"]);
    // Out of order: the floor stays below what is still held.
    held[2].ack_confirmed().await.unwrap();
    let lane = bus.step_lane(&agent(), false).await.unwrap();
    assert_eq!((lane.last_sequence, lane.pending, lane.ack_pending), (4, 1, 1));
    assert!(lane.ack_floor < 2, "{lane:?}");
    held[1].ack_confirmed().await.unwrap();
    let lane = bus.step_lane(&agent(), false).await.unwrap();
    assert_eq!((lane.ack_floor, lane.pending, lane.ack_pending), (3, 1, 0));

    // Refused for good, and handed back.
    let last = puller.next(1, SOON).await.unwrap().pop().unwrap();
    last.nak(None).await.unwrap();
    let last = puller.next(1, SOON).await.unwrap().pop().unwrap();
    assert_eq!((last.delivered_count, last.message_id.as_deref()), (2, Some("c")));
    last.in_progress().await.unwrap();
    last.term("poison").await.unwrap();
    bus.flush().await.unwrap();
    let lane = bus.step_lane(&agent(), false).await.unwrap();
    assert_eq!((lane.ack_floor, lane.pending, lane.ack_pending), (4, 0, 0));
}

#[tokio::test]
async fn a_message_delivered_too_often_is_below_the_floor() {
    let server = NatsServer::start(&[]);
    let bus = server.bus("worker").await;
    ready(&bus).await;
    publish(&bus, vec![step(false, "poison"), step(false, "good")]).await;
    let mut puller = bus.step_puller(&agent());
    let mut good = None;
    for delivery in 1..=20 {
        let mut got = puller.next(if good.is_none() { 2 } else { 1 }, SOON).await.unwrap();
        if got.len() == 2 {
            good = got.pop();
        }
        assert_eq!((bodies(&got), got[0].delivered_count), (vec!["poison"], delivery));
        got[0].nak(None).await.unwrap();
    }
    good.unwrap().ack_confirmed().await.unwrap();
    assert!(puller.next(1, Duration::from_millis(300)).await.unwrap().is_empty());
    let lane = bus.step_lane(&agent(), false).await.unwrap();
    assert_eq!((lane.ack_floor, lane.ack_pending, lane.pending), (2, 0, 0));
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let mut server = NatsServer::start(&[]);
    let bus = server.bus("worker").await;
    ready(&bus).await;
    publish(&bus, vec![step(false, "before")]).await;
    let mut requests = bus.serve("t.result.*.*", "q").await.unwrap();
    let mut puller = bus.step_puller(&agent());
    let mut connections = bus.connections();
    connections.mark_unchanged();
    let held = puller.next(1, SOON).await.unwrap();
    assert_eq!(bodies(&held), ["before"]);
    held[0].ack_confirmed().await.unwrap();
    assert!(
        puller.next(1, Duration::ZERO).await.unwrap().is_empty(),
        "and now a request waits in each lane"
    );

    server.interrupt();
    let refused = loop {
        // The loss shows as a time-out until the client has noticed it.
        match bus.request("t.nobody", "x", Duration::from_millis(50)).await {
            Err(BusError::NotConnected) => break true,
            Err(BusError::Timeout | BusError::NoResponders) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(refused && puller.next(1, SOON).await.is_err_and(|e| e == BusError::NotConnected));
    assert_eq!(bus.publish_steps(vec![step(false, "lost")]).await, [Err(BusError::NotConnected)]);
    server.resume();
    connections.changed().await.unwrap();

    let (got, ()) = tokio::join!(puller.next(1, SOON), publish(&bus, vec![step(false, "after")]));
    assert_eq!(bodies(&got.unwrap()), ["after"]);
    let asking = bus.clone();
    let asked = tokio::spawn(async move { asking.request("t.result.a.b", "r", SOON).await });
    requests.next().await.unwrap().respond("recorded").await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), "recorded");
    // The feed was kept in memory and is made again without anybody asking for it.
    let raw = raw(&server).await;
    tokio::time::timeout(SOON, async { while raw.get_stream("T_EVENTS").await.is_err() {} })
        .await
        .unwrap();
    bus.publish_event("t.event.hotfix.run.start", "{}").await.unwrap();
}

#[tokio::test]
async fn credentials_come_with_the_url() {
    let server = NatsServer::start(&["--user", "us er", "--pass", "p@:/s"]);
    let config = |url: String| {
        let mut config = BusConfig::new(url, "t", "worker");
        config.connect_timeout = Duration::from_secs(20);
        config
    };
    let with = |login: &str| server.url().replace("nats://", &format!("nats://{login}@"));
    let good = config(with("us%20er:p%40%3A%2Fs"));
    assert!(!format!("{good:?}").contains("p%40"), "{good:?}");
    let bus = Bus::connect(good).await.unwrap();
    assert!(bus.is_connected());
    for url in [with("us%20er:wrong"), server.url()] {
        let Err(error) = Bus::connect(config(url)).await else { panic!("connected") };
        let text = error.to_string();
        assert!(text.contains("authorization") && !text.contains("wrong"), "{text}");
    }
    let mut nowhere = BusConfig::new("nats://127.0.0.1:1", "t", "worker");
    nowhere.connect_timeout = Duration::from_millis(200);
    assert!(matches!(Bus::connect(nowhere).await, Err(BusError::Connect { .. })));
    assert!(matches!(
        Bus::connect(BusConfig::new("", "A.b", "x")).await,
        Err(BusError::InvalidConfig(_))
    ));
}
