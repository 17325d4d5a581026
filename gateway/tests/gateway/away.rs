//! What is said when something is away: which thing, and without a hang.

use std::time::{Duration, Instant};

use sluice_proto::api::verb;
use sluice_proto::error::{ApiError, ErrorCode};

use crate::harness::{Answer, Nats, World, answer_well, gateway, golden, send, test, test_alone};

#[test]
fn no_coordinator() {
    test(|nats| async move {
        let gateway = gateway(&nats, "nobody", |_| {}).await;
        let reply = send(gateway.addr(), "GET", "/workflow/status/pr-1", &[], "").await;
        assert_eq!(reply.failure(), (503, "coordinator_unavailable".into()));
        let health = send(gateway.addr(), "GET", "/health", &[], "").await;
        assert_eq!(health.failure(), (503, "coordinator_unavailable".into()));
        assert_eq!(health.json()["errors"][0]["field"], "coordinator");
        let ready = send(gateway.addr(), "GET", "/ready", &[], "").await;
        assert_eq!(ready.status, 503);
        assert_eq!(ready.json()["ready"], false);
        assert_eq!(ready.json()["integrations"]["nats"], true);
        assert_eq!(ready.json()["integrations"]["coordinator"], false);
        let metrics = send(gateway.addr(), "GET", "/metrics", &[], "").await;
        assert!(metrics.status == 200 && metrics.body.contains("sluice_gateway_coordinator_up 0"));
    });
}

#[test]
fn a_silent_coordinator() {
    test(|nats| async move {
        let hasty = |config: &mut sluice_gateway::GatewayConfig| {
            config.limits.answer_timeout = Duration::from_millis(300);
        };
        let world = World::start(&nats, hasty, |_| Answer::Silence).await;
        let started = Instant::now();
        let reply =
            world.post("/workflow/execute", r#"{"template_name":"hotfix","context":{}}"#).await;
        assert_eq!(reply.failure(), (503, "coordinator_unavailable".into()));
        assert!(reply.body.contains("may have been carried out"), "{}", reply.body);
        assert_eq!(world.get("/health").await.failure(), (503, "coordinator_unavailable".into()));
        assert!(started.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn no_database() {
    test(|nats| async move {
        let script = |verb: &str| match verb {
            verb::SYSTEM_HEALTH => {
                Answer::Ok(golden("health_response").replace("connected", "disconnected"))
            }
            _ => Answer::Refuse(ApiError::new(
                ErrorCode::DatabaseUnavailable,
                "PostgreSQL does not answer",
            )),
        };
        let world = World::start(&nats, |_| {}, script).await;
        for path in ["/health", "/workflow/status/pr-1"] {
            assert_eq!(
                world.get(path).await.failure(),
                (503, "database_unavailable".into()),
                "{path}"
            );
        }
        let state = send(world.gateway.state_addr(), "GET", "/health", &[], "").await;
        assert_eq!(state.json()["database_status"], "disconnected");
        let ready = world.get("/ready").await.json();
        assert_eq!(ready["integrations"]["coordinator"], true);
        assert_eq!(ready["integrations"]["database"], false);
    });
}

#[test]
fn nats_stops_and_comes_back() {
    test_alone(async {
        let nats = Nats::start().await;
        let world = World::start(&nats, |_| {}, answer_well).await;
        assert_eq!(world.get("/health").await.status, 200);
        nats.servers().kill_nats().await.unwrap();
        let started = Instant::now();
        for path in ["/health", "/workflow/status/pr-1", "/workflows"] {
            let reply = world.get(path).await;
            assert_eq!(reply.failure(), (503, "nats_unavailable".into()), "{path}");
            assert_eq!(reply.json()["errors"][0]["field"], "nats");
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        nats.servers().start_nats().await.unwrap();
        while world.get("/health").await.status != 200 {
            assert!(started.elapsed() < Duration::from_secs(60), "the gateway does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn stopping_lets_requests_finish() {
    test(|nats| async move {
        let slow = |verb: &str| {
            std::thread::sleep(Duration::from_millis(300));
            answer_well(verb)
        };
        let world = World::start(&nats, |_| {}, slow).await;
        let addr = world.gateway.addr();
        let asked = tokio::spawn(async move { send(addr, "GET", "/health", &[], "").await.status });
        while world.seen.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        world.gateway.stop().await;
        assert_eq!(asked.await.unwrap(), 200);
        assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "it still listens");
    });
}
