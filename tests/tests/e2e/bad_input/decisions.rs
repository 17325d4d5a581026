//! Decisions that come too early, too late, twice, or say nothing.

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};

use super::{GOOD, assert_alive, assert_error};

/// Two people, then a deployment.
const TWO_PEOPLE: &str = r#"
name: Two people
version: "1.0"
description: Two people must agree before it is deployed.
steps:
  - id: agree
    type: hitl_approval
    risk_assessment: {risk_level: critical, requires_multiple_approvals: true}
    on_approved: deploy
    on_rejected: notify_failure
  - {id: deploy, type: agent_call, agent: cicd, on_success: workflow_complete}
"#;

const ONE_PERSON: &str = r#"
name: One person
version: "1.0"
description: One person must agree before it is deployed.
steps:
  - id: agree
    type: hitl_approval
    risk_assessment: {risk_level: high}
    on_approved: deploy
    on_rejected: notify_failure
  - {id: deploy, type: agent_call, agent: cicd, on_success: workflow_complete}
"#;

async fn world(agents: &Agents) -> World {
    let yaml = agents.yaml(&[("good", false), ("cicd", true)]);
    let world = World::builder().template("good", GOOD).template("one", ONE_PERSON);
    world.template("two", TWO_PEOPLE).agents(&yaml).coordinators(2).start().await
}

fn approved(by: &str) -> Value {
    json!({"approval_decision": "approved", "approver": by})
}

#[test]
fn a_decision_nobody_asked_for_is_refused() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        let (status, answer) = world.resume("two-0000000000000000", approved("ana")).await;
        assert_eq!(status, 404, "{answer}");
        assert_error(&answer, "workflow_not_found", "two-0000000000000000");

        let id = world.execute("one", json!({})).await;
        world.wait_for(&id, "paused").await;
        let cases = [
            (json!({"approval_decision": "yes"}), 400, "invalid_decision", "'yes' is no decision"),
            (json!({"approval_decision": ""}), 400, "invalid_decision", "'approved' or 'rejected'"),
            (json!({"approval_decision": "APPROVED"}), 400, "invalid_decision", "APPROVED"),
            (json!({"approval_decision": true}), 422, "invalid_body", "approval_decision"),
            (json!({}), 422, "invalid_body", "approval_decision: is missing"),
            (
                json!({"approval_decision": "approved", "approver": "a\u{0}b"}),
                422,
                "invalid_body",
                "approver",
            ),
            (
                json!({"approval_decision": "approved", "comment": "x".repeat(4_001)}),
                422,
                "invalid_body",
                "comment",
            ),
        ];
        for (body, expected, code, part) in cases {
            let (status, answer) = world.resume(&id, body.clone()).await;
            assert_eq!(status, expected, "{body}: {answer}");
            assert_error(&answer, code, part);
        }
        assert_eq!(world.status(&id).await["status"], "paused");
        let (status, answer) = world.resume(&id, approved("ana")).await;
        assert_eq!(status, 200, "{answer}");
        world.wait_for(&id, "completed").await;
        let (status, answer) = world.resume(&id, approved("ana")).await;
        assert_eq!(status, 400, "{answer}");
        assert_error(&answer, "not_paused", "not paused");
        assert_eq!(agents.calls().len(), 1);
        assert_alive(&world).await;
        world.stop().await;
    });
}

#[test]
fn one_person_does_not_count_as_two() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        let id = world.execute("two", json!({})).await;
        world.wait_for(&id, "paused").await;
        let (status, answer) = world.resume(&id, approved("ana")).await;
        assert_eq!(
            (status, &answer["approvals_received"], &answer["approvals_required"]),
            (200, &json!(1), &json!(2))
        );
        assert_eq!(answer["status"], "paused");
        let (status, answer) = world.resume(&id, approved("ana")).await;
        assert_eq!(status, 409, "{answer}");
        assert_error(&answer, "already_decided", "ana");
        assert_eq!(agents.calls().len(), 0);
        // Nobody's name is one name, too.
        let unknown = json!({"approval_decision": "approved"});
        let (status, _) = world.resume(&id, unknown.clone()).await;
        assert_eq!(status, 200);
        world.wait_for(&id, "completed").await;

        let id = world.execute("two", json!({})).await;
        world.wait_for(&id, "paused").await;
        assert_eq!(world.resume(&id, unknown.clone()).await.0, 200);
        let (status, answer) = world.resume(&id, unknown).await;
        assert_eq!(status, 409, "{answer}");
        let (status, _) =
            world.resume(&id, json!({"approval_decision": "rejected", "approver": "bo"})).await;
        assert_eq!(status, 200);
        let state = world.wait_for(&id, "failed").await;
        assert_eq!(state["failure_reason"], "rejected");
        assert_eq!(agents.calls().len(), 1);
        world.stop().await;
    });
}

#[test]
fn of_many_decisions_at_once_one_counts() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        for n in 0..5 {
            let id = world.execute("one", json!({})).await;
            world.wait_for(&id, "paused").await;
            let people: Vec<String> = (0..8).map(|n| format!("person-{n}")).collect();
            let answers = people.iter().map(|person| world.resume(&id, approved(person)));
            let answers = futures::future::join_all(answers).await;
            let won = answers.iter().filter(|(status, _)| *status == 200).count();
            assert_eq!(won, 1, "{answers:?}");
            for (status, answer) in answers.iter().filter(|(status, _)| *status != 200) {
                assert!(matches!(status, 400 | 409), "{answer}");
            }
            world.wait_for(&id, "completed").await;
            assert_eq!(agents.calls().len(), n + 1, "nothing is deployed twice");
            let actions = world.actions(&id).await;
            assert_eq!(actions.iter().filter(|action| *action == "approve_gate:agree").count(), 1);
        }
        world.stop().await;
    });
}

#[test]
fn a_repeated_decision_is_answered_again() {
    run(async {
        let agents = Agents::agreeable().await;
        let world = world(&agents).await;
        let id = world.execute("two", json!({})).await;
        world.wait_for(&id, "paused").await;
        let body =
            json!({"approval_decision": "approved", "approver": "ana", "request_id": "ana-1"});
        let first = world.resume(&id, body.clone()).await;
        assert_eq!(first.0, 200, "{first:?}");
        assert_eq!(world.resume(&id, body).await, first);
        let state = world.status(&id).await;
        assert_eq!(state["pending_approval"]["received"], 1);

        // The same name for another request is a mistake, not a repetition.
        let execute = json!({"template_name": "good", "context": {}, "request_id": "ana-1"});
        let (status, answer) = world.post("/workflow/execute", &execute).await;
        assert_eq!(status, 422, "{answer}");
        assert_error(&answer, "invalid_body", "request_id");
        assert_eq!(world.resume(&id, approved("bo")).await.0, 200);
        world.wait_for(&id, "completed").await;
        world.stop().await;
    });
}
