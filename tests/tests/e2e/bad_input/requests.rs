//! Requests that are refused before anything happens.

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

use super::{GOOD, assert_alive, assert_error, runs};

/// Three mistakes: an agent is missing, an edge leads nowhere, a retry count is no number.
const BROKEN: &str = r#"name: Broken
version: "1.0"
description: Three mistakes.
steps:
  - id: first
    type: agent_call
    on_success: second
  - id: second
    type: agent_call
    agent: good
    on_success: thrid
error_recovery:
  max_retries: often
"#;

async fn world() -> World {
    let agents = Agents::agreeable().await;
    let yaml = agents.yaml(&[("good", false)]);
    World::builder().template("good", GOOD).template("broken", BROKEN).agents(&yaml).start().await
}

/// A POST with a body as it is.
async fn post(world: &World, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let request =
        world.http.post(format!("{}{path}", world.url)).header("content-type", "application/json");
    let response = request.body(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[test]
fn a_request_that_cannot_be_right_says_what_is_wrong() {
    run(async {
        let world = world().await;
        let cases: [(&str, u16, &str, &str); 16] = [
            (
                r#"{"template_name":"better","context":{}}"#,
                404,
                "template_not_found",
                "good.workflow.yaml",
            ),
            (
                r#"{"template_name":"../good","context":{}}"#,
                400,
                "invalid_template_name",
                "../good",
            ),
            (
                r#"{"template_name":"a/good.workflow.yaml","context":{}}"#,
                400,
                "invalid_template_name",
                "path",
            ),
            (r#"{"template_name":"","context":{}}"#, 400, "invalid_template_name", "name"),
            (r#"{"template_name":"good"}"#, 422, "invalid_body", "context: is missing"),
            (r#"{"template_name":"good","context":[]}"#, 422, "invalid_body", "context: "),
            (r#"{"template_name":"good","context":"n=1"}"#, 422, "invalid_body", "context: "),
            (r#"{"template_name":7,"context":{}}"#, 422, "invalid_body", "template_name: "),
            (r#"{"context":{}}"#, 422, "invalid_body", "template_name: is missing"),
            (
                r#"{"template_name":"good","context":{"a":{"b":"\u0000"}}}"#,
                422,
                "invalid_body",
                "context.a.b",
            ),
            (
                r#"{"template_name":"good","context":{"n":1152921504606846976}}"#,
                422,
                "invalid_body",
                "context.n",
            ),
            (
                r#"{"template_name":"good","context":{},"workflow_id":"a.b"}"#,
                422,
                "invalid_body",
                "workflow_id",
            ),
            (
                r#"{"template_name":"good","context":{},"workflow_id":"status"}"#,
                422,
                "invalid_body",
                "reserved",
            ),
            (
                r#"{"template_name":"good","context":{},"request_id":""}"#,
                422,
                "invalid_body",
                "request_id",
            ),
            (r#"{"template_name":"good","context":{}"#, 422, "invalid_body", "line 1"),
            ("template_name=good", 422, "invalid_body", "expected a JSON object"),
        ];
        for (body, status, code, part) in cases {
            let (found, answer) = post(&world, "/workflow/execute", body).await;
            assert_eq!(found, status, "{body}: {answer}");
            assert_error(&answer, code, part);
        }
        assert_eq!(runs(&world).await, 0);
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn a_body_over_the_limit_is_413() {
    run(async {
        let world = world().await;
        let limit = world.bus.max_payload();
        let body =
            json!({"template_name": "good", "context": {"n": "x".repeat(limit)}}).to_string();
        let (status, answer) = post(&world, "/workflow/execute", body.clone()).await;
        assert_eq!(status, 413, "{answer}");
        assert_error(&answer, "body_too_large", &limit.to_string());
        // Without a length in advance.
        let chunks =
            body.into_bytes().chunks(100_000).map(|part| Ok(part.to_vec())).collect::<Vec<_>>();
        let stream =
            futures::stream::iter(chunks.into_iter().map(|part: Result<_, std::io::Error>| part));
        let (status, _) =
            post(&world, "/workflow/execute", reqwest::Body::wrap_stream(stream)).await;
        assert_eq!(status, 413);
        assert_eq!(runs(&world).await, 0);
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn a_context_that_leaves_no_room_for_the_rest_does_not_hang() {
    run(async {
        let world = world().await;
        // It fits into a request; the step's command is larger, because it holds it twice.
        let n = "x".repeat(world.bus.max_payload() * 2 / 3);
        let body = json!({"template_name": "good", "context": {"n": n}});
        let (status, answer) = world.post("/workflow/execute", &body).await;
        assert_eq!(status, 200, "{answer}");
        let id = answer["workflow_id"].as_str().unwrap();
        let state = world.wait_for(id, "failed").await;
        assert_eq!(state["failure_reason"], "command_too_large");
        assert_eq!(state["failed_step"], "only");
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn a_template_with_three_errors_lists_all_three_with_their_places() {
    run(async {
        let world = world().await;
        let body = json!({"template_name": "broken", "context": {}});
        let (status, answer) = world.post("/workflow/execute", &body).await;
        assert_eq!(status, 422, "{answer}");
        assert_error(&answer, "invalid_template", "3 errors");
        let errors: Vec<(&str, &str)> = answer["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| (error["field"].as_str().unwrap(), error["message"].as_str().unwrap()))
            .collect();
        let expected = [
            ("broken.workflow.yaml:5:5", "'agent' is missing"),
            ("broken.workflow.yaml:11:17", "no step and no virtual target"),
            ("broken.workflow.yaml:13:16", "must be a whole number"),
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for ((field, message), (place, part)) in errors.iter().zip(expected) {
            assert_eq!(*field, place, "{errors:#?}");
            assert!(message.contains(part), "{message}");
        }
        let (_, list) = world.get("/workflow/templates").await;
        assert_eq!(list["count"], 2, "a broken one hides no other: {list}");
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn a_bad_id_names_no_run() {
    run(async {
        let world = world().await;
        let long = "x".repeat(65);
        for id in ["nobody", "a.b", "%2e%2e", "a%20b", "%00", "%F0%9F%98%80", long.as_str()] {
            for path in [
                format!("/workflow/status/{id}"),
                format!("/workflow/{id}"),
                format!("/workflows/{id}"),
            ] {
                let (status, answer) = world.get(&path).await;
                assert_eq!(status, 404, "{path}: {answer}");
            }
            let body = json!({"approval_decision": "approved"});
            let (status, answer) = world.post(&format!("/workflow/resume/{id}"), &body).await;
            assert_eq!(status, 404, "{id}: {answer}");
        }
        let (status, _) = world.get("/workflow/status/%FF").await;
        assert_eq!(status, 400, "no text at all");
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn a_chosen_id_is_taken_once() {
    run(async {
        let world = world().await;
        let body = json!({"template_name": "good", "context": {}, "workflow_id": "mine-1"});
        let attempts = (0..6).map(|_| world.post("/workflow/execute", &body));
        let answers = futures::future::join_all(attempts).await;
        let accepted = answers.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(accepted, 1, "{answers:?}");
        for (status, answer) in answers.iter().filter(|(status, _)| *status != 200) {
            assert_eq!(*status, 409, "{answer}");
            assert_error(answer, "workflow_id_taken", "already");
        }
        world.wait_for("mine-1", "completed").await;
        let (status, _) = world.post("/workflow/execute", &body).await;
        assert_eq!(status, 409, "also once it has ended");
        assert_eq!(runs(&world).await, 1);
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn a_repeated_request_is_answered_again_and_does_nothing() {
    run(async {
        let world = world().await;
        let body = json!({"template_name": "good", "context": {}, "request_id": "order 66"});
        let attempts = (0..6).map(|_| world.post("/workflow/execute", &body));
        let mut answers = futures::future::join_all(attempts).await;
        let id = answers[0].1["workflow_id"].as_str().unwrap().to_owned();
        world.wait_for(&id, "completed").await;
        answers.push(world.post("/workflow/execute", &body).await);
        for (status, answer) in &answers {
            assert_eq!((*status, answer), (200, &answers[0].1), "the same answer");
        }
        assert_eq!(runs(&world).await, 1);
        assert_alive(&world).await;
        world.stop().await;
    });
}
