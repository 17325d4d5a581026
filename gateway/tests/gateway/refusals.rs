//! Every request that is refused, and how.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_bus::{Bus, BusConfig};
use sluice_gateway::{Gateway, GatewayConfig, GatewayError};
use sluice_proto::error::{ApiError, ErrorCode, FieldError};

use crate::harness::{Answer, Nats, World, answer_well, raw, test};

#[test]
fn what_is_no_route_or_no_method() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        assert_eq!(world.get("/nowhere").await.failure(), (404, "route_not_found".into()));
        let reply = world.send("DELETE", "/workflow/execute", &[], "").await;
        assert_eq!(reply.failure(), (405, "method_not_allowed".into()));
        assert_eq!(reply.header("allow"), Some("POST"));
        for id in ["a.b", "x%20y", "%ff", &"x".repeat(65)] {
            let reply = world.get(&format!("/workflow/status/{id}")).await;
            assert!(matches!(reply.failure().0, 400 | 404), "{id}: {}", reply.body);
        }
        assert!(world.seen.lock().unwrap().is_empty(), "the coordinator was asked");
    });
}

#[test]
fn bodies() {
    test(|nats| async move {
        let world =
            World::start(&nats, |config| config.limits.body_bytes = 1_000, answer_well).await;
        let cases = [
            (r#"{"template_name":"hotfix"}"#, "context"),
            (r#"{"template_name":"hotfix","context":"x"}"#, "context"),
            (r#"{"context":{}}"#, "template_name"),
            ("{\"template_name\":\n oops}", "body"),
            ("[]", "body"),
            ("", "body"),
        ];
        for (body, field) in cases {
            let reply = world.post("/workflow/execute", body).await;
            assert_eq!(reply.failure(), (422, "invalid_body".into()), "{body}");
            assert_eq!(reply.json()["errors"][0]["field"], field, "{body}");
        }
        assert!(
            world
                .post("/workflow/execute", "{\"a\":\n oops}")
                .await
                .body
                .contains("line 2 column 2")
        );
        let reply = world.post("/workflow/resume/pr-1", "{}").await;
        assert_eq!(reply.json()["errors"][0]["field"], "approval_decision");
        let long = format!(r#"{{"template_name":"x","context":{{"a":"{}"}}}}"#, "y".repeat(1_000));
        assert_eq!(
            world.post("/workflow/execute", &long).await.failure(),
            (413, "body_too_large".into())
        );
        assert_eq!(chunked(&world, &long).await, 413);
        assert!(world.seen.lock().unwrap().is_empty(), "the coordinator was asked");
    });
}

/// A body that does not announce its length.
async fn chunked(world: &World, body: &str) -> u16 {
    let request = format!(
        "POST /workflow/execute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    raw(world.gateway.addr(), &request).await.status
}

#[test]
fn a_body_larger_than_nats_carries() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        let long =
            format!(r#"{{"template_name":"x","context":{{"a":"{}"}}}}"#, "y".repeat(9_000_000));
        assert_eq!(
            world.post("/workflow/execute", &long).await.failure(),
            (413, "body_too_large".into())
        );
    });
}

#[test]
fn media_types() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        let body = r#"{"template_name":"hotfix","context":{}}"#;
        for (given, status) in [
            ("application/json", 200),
            ("Application/JSON; charset=utf-8", 200),
            ("application/x-www-form-urlencoded", 415),
            ("text/plain", 415),
            ("-", 415),
        ] {
            let reply =
                world.send("POST", "/workflow/execute", &[("Content-Type", given)], body).await;
            assert_eq!(reply.status, status, "{given}");
        }
    });
}

#[test]
fn hosts_and_origins() {
    test(|nats| async move {
        let configured = |config: &mut GatewayConfig| {
            config.public_url = Some("https://sluice.example.com".into());
            config.allowed_hosts = vec!["node7".into()];
            config.allowed_origins = vec!["https://portal.example.com".into()];
        };
        let world = World::start(&nats, configured, answer_well).await;
        let cases = [
            ("localhost:8001", "-", 200),
            ("[::1]:8001", "-", 200),
            ("sluice.example.com", "https://sluice.example.com", 200),
            ("node7:8001", "https://portal.example.com", 200),
            ("localhost:8001", "http://localhost:8001", 200),
            ("evil.example", "-", 403),
            ("-", "-", 403),
            ("localhost:8001", "https://evil.example", 403),
            ("localhost:8001", "null", 403),
        ];
        for (host, origin, status) in cases {
            let headers = [("Host", host), ("Origin", origin)];
            let reply = world.send("GET", "/health", &headers, "").await;
            assert_eq!(reply.status, status, "{host} {origin}");
            if status == 403 {
                assert_eq!(reply.failure().1, "forbidden_origin");
            }
        }
    });
}

#[test]
fn the_coordinators_refusals_come_through() {
    test(|nats| async move {
        let refusal = ApiError {
            detail: "two problems".into(),
            code: ErrorCode::InvalidTemplate,
            errors: vec![FieldError { field: "a.yaml:1:1".into(), message: "no steps".into() }],
        };
        let script = move |_: &str| Answer::Refuse(refusal.clone());
        let world = World::start(&nats, |_| {}, script).await;
        let reply = world.get("/workflow/status/pr-1").await;
        assert_eq!(reply.failure(), (422, "invalid_template".into()));
        assert_eq!(reply.json()["errors"][0]["field"], "a.yaml:1:1");
    });
}

#[test]
fn queries() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        for query in ["status=open", "limit=-1", "offset=x", "limit=1&limit=2", "status=%ff"] {
            let reply = world.get(&format!("/workflows?{query}")).await;
            assert_eq!(reply.failure(), (422, "invalid_body".into()), "{query}");
        }
    });
}

#[test]
fn more_requests_than_there_are_places() {
    test(|nats| async move {
        let world = World::start(&nats, |config| config.limits.requests = 0, answer_well).await;
        let reply = world.get("/health").await;
        assert_eq!(reply.failure(), (429, "overloaded".into()));
        assert_eq!(reply.header("retry-after"), Some("1"));
    });
}

#[test]
fn clients_that_dawdle_are_cut_off() {
    test(|nats| async move {
        let hasty = |config: &mut GatewayConfig| {
            config.limits.header_timeout = Duration::from_millis(200);
            config.limits.body_timeout = Duration::from_millis(200);
        };
        let world = World::start(&nats, hasty, answer_well).await;
        let addr = world.gateway.addr();
        assert_eq!(raw(addr, "GET /health HTTP/1.1\r\nHost: localhost\r\n").await.body, "");
        let head = "POST /workflow/execute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
            Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
        assert_eq!(raw(addr, head).await.failure(), (400, "bad_request".into()));
    });
}

#[test]
fn a_taken_port_names_the_port_and_the_flag() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        let taken = world.gateway.addr();
        let error = start_on(&nats, taken).await.unwrap_err();
        assert!(matches!(error, GatewayError::PortTaken { addr, .. } if addr == taken));
        let text = error.to_string();
        for part in [taken.port().to_string().as_str(), "--gateway-addr", "SLUICE_GATEWAY_ADDR"] {
            assert!(text.contains(part), "{text}");
        }
    });
}

async fn start_on(nats: &Nats, addr: SocketAddr) -> Result<Gateway, GatewayError> {
    let bus =
        Bus::connect(BusConfig::new(nats.servers().nats_url(), "taken", "gateway")).await.unwrap();
    Gateway::start(GatewayConfig::new(bus, addr, "127.0.0.1:0".parse().unwrap())).await
}
