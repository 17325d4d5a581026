//! Every route when all is well.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::{Answer, World, answer_well, golden, send, test};

#[test]
fn execute_passes_the_body_on_unchanged() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        let body = r#"{"context":{"b":1,"a":2.50},"template_name":"hotfix.workflow.yaml"}"#;
        let reply = world.post("/workflow/execute", body).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, golden("execute_response").as_str()));
        world.last_seen(|seen| {
            assert_eq!((seen.verb.as_str(), seen.body.as_str()), ("workflow.execute", body));
            assert_eq!(seen.actor.method, "none");
            assert_eq!(seen.actor.address.as_deref(), Some("127.0.0.1"));
        });
    });
}

#[test]
fn resume_believes_the_path() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        let body = r#"{"decision":"approved","workflow_id":"another","comment":"ok"}"#;
        let reply = world.post("/workflow/resume/pr-1", body).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, golden("resume_response").as_str()));
        let sent: Value = world.last_seen(|seen| serde_json::from_str(&seen.body).unwrap());
        assert_eq!(
            sent,
            json!({"workflow_id": "pr-1", "approval_decision": "approved", "comment": "ok"})
        );
    });
}

#[test]
fn reading_routes_give_the_coordinators_bytes() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        let cases = [
            (
                "/workflow/status/pr-1",
                "workflow.status",
                "status_response.paused",
                r#"{"workflow_id":"pr-1"}"#,
            ),
            ("/workflow/pr-1", "workflow.state", "state_response", r#"{"workflow_id":"pr-1"}"#),
            ("/workflows/pr-1", "workflow.state", "state_response", r#"{"workflow_id":"pr-1"}"#),
            (
                "/workflow/pr-1/events?limit=1&offset=2&action=Release_Lock",
                "workflow.events",
                "events_response",
                r#"{"workflow_id":"pr-1","action":"Release_Lock","limit":1,"offset":2}"#,
            ),
            ("/workflow/templates", "template.list", "templates_response", "{}"),
        ];
        for (path, verb, answer, sent) in cases {
            let reply = world.get(path).await;
            assert_eq!(
                (reply.status, reply.body.as_str()),
                (200, golden(answer).as_str()),
                "{path}"
            );
            assert_eq!(reply.header("content-type"), Some("application/json"));
            world.last_seen(|seen| {
                assert_eq!((seen.verb.as_str(), seen.body.as_str()), (verb, sent))
            });
        }
    });
}

#[test]
fn the_list_is_a_bare_array() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        let reply = world.get("/workflows?status=paused&limit=5").await;
        let whole: Value = serde_json::from_str(&golden("list_response")).unwrap();
        assert_eq!((reply.status, reply.body), (200, whole["workflows"].to_string()));
        world.last_seen(|seen| assert_eq!(seen.body, r#"{"status":"paused","limit":5}"#));
    });
}

#[test]
fn pages_of_events_that_a_message_cannot_hold_are_joined() {
    test(|nats| async move {
        let page = |offset: u64| {
            let mut page: Value = serde_json::from_str(&golden("events_response")).unwrap();
            page["events"][0]["sequence"] = (offset + 1).into();
            page["offset"] = offset.into();
            page["limit"] = (10 - offset).into();
            page["total_events"] = 3.into();
            page["next"] = if offset < 2 { (offset + 1).into() } else { Value::Null };
            page.to_string()
        };
        let asked = AtomicU64::new(0);
        let script = move |_: &str| Answer::Ok(page(asked.fetch_add(1, Ordering::Relaxed)));
        let world = World::start(&nats, |_| {}, script).await;
        let reply = world.get("/workflow/pr-1/events?limit=10").await.json();
        let events = reply["events"].as_array().unwrap().iter();
        let sequences: Vec<_> = events.map(|event| event["sequence"].as_u64().unwrap()).collect();
        assert_eq!(sequences, [1, 2, 3]);
        assert_eq!((&reply["offset"], &reply["limit"]), (&json!(0), &json!(10)));
        world.last_seen(|seen| {
            assert_eq!(seen.body, r#"{"workflow_id":"pr-1","limit":8,"after":2}"#)
        });
    });
}

#[test]
fn the_state_address_reads_and_does_nothing_else() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        let state = |method, path| send(world.gateway.state_addr(), method, path, &[], "");
        for path in ["/workflows", "/workflow/pr-1", "/workflow/pr-1/events", "/workflows/pr-1"] {
            assert_eq!(state("GET", path).await.status, 200, "{path}");
        }
        let health = state("GET", "/health").await.json();
        assert_eq!(health["service"], "state-persistence");
        assert_eq!(health["database_status"], "connected");
        for (method, path, status) in [
            ("POST", "/workflow/execute", 405),
            ("POST", "/workflow/resume/pr-1", 404),
            ("DELETE", "/workflow/pr-1", 405),
            ("POST", "/workflows", 405),
        ] {
            assert_eq!(state(method, path).await.failure().0, status, "{method} {path}");
        }
    });
}

#[test]
fn health_and_readiness() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        let health = world.get("/health").await;
        let expected = json!({"status": "ok", "service": "orchestrator", "version": "0.1.0",
            "timestamp": "2031-03-04T05:06:00.120000Z"});
        assert_eq!((health.status, health.json()), (200, expected));
        let ready = world.get("/ready").await;
        let expected = json!({"ready": true, "integrations": {"nats": true, "coordinator": true, "database": true}});
        assert_eq!((ready.status, ready.json()), (200, expected));
    });
}

#[test]
fn metrics_name_routes_and_no_ids() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        world.get("/workflow/status/pr-1").await;
        world.get("/workflow/status/pr-2").await;
        world.get("/nowhere/pr-3").await;
        let reply = world.get("/metrics").await;
        assert!(reply.header("content-type").unwrap().starts_with("text/plain"));
        for line in [
            r#"sluice_gateway_requests_total{method="GET",route="/workflow/status/{id}",status="200"} 2"#,
            r#"sluice_gateway_requests_total{method="GET",route="unmatched",status="404"} 1"#,
            "sluice_gateway_coordinator_up 1",
            "sluice_runs_total 3",
        ] {
            assert!(reply.body.lines().any(|found| found == line), "{line}\n{}", reply.body);
        }
        assert!(!reply.body.contains("pr-"), "{}", reply.body);
    });
}

#[test]
fn every_answer_carries_a_request_id_and_security_headers() {
    test(|nats| async move {
        let world = World::start(&nats, |_| {}, answer_well).await;
        for (given, path, kept) in [
            ("build-7", "/health", true),
            ("build-8", "/nowhere", true),
            ("no spaces", "/health", false),
        ] {
            let reply = world.send("GET", path, &[("X-Request-Id", given)], "").await;
            assert_eq!(reply.header("x-request-id") == Some(given), kept, "{given}");
            assert!(reply.header("x-request-id").is_some_and(|id| !id.is_empty()));
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        }
    });
}
