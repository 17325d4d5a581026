use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_proto::event::{Event, Status};
use sluice_proto::timestamp::Timestamp;

use super::timeline;
use crate::progress::{History, What, duration};

/// Events as `(milliseconds, action, step, data)`.
type Told<'a> = &'a [(i64, &'a str, &'a str, Value)];

fn history(told: Told<'_>) -> History {
    let workers = BTreeMap::from([("deploy".to_owned(), "infrastructure".to_owned())]);
    let mut history = History::of(workers);
    for (n, (ms, action, step, data)) in told.iter().enumerate() {
        let event: Event = serde_json::from_value(json!({
            "event_id": "e", "workflow_id": "pr-1", "parent_workflow_id": null, "sequence": n + 1,
            "step_id": step, "timestamp": Timestamp::from_micros(ms * 1_000), "event_version": 2,
            "prev_hash": "", "key_id": "", "action": action, "data": data,
        }))
        .unwrap();
        history.apply(&event);
    }
    history
}

fn start() -> Value {
    json!({"context": {}, "template_name": "a.workflow.yaml", "template_version": "1",
        "template_sha256": "", "participating_agents": []})
}

/// Two seconds of waiting for a lock, four of work, ten for a person, and no.
fn rejected() -> History {
    history(&[
        (0, "start_workflow", "deploy", start()),
        (
            0,
            "wait_lock",
            "deploy",
            json!({"resource_lock": "deployment:staging", "holder": "pr-0"}),
        ),
        (
            2_000,
            "acquire_lock",
            "deploy",
            json!({"resource_lock": "deployment:staging", "wait_ms": 2_000, "fencing_number": 7}),
        ),
        (
            6_000,
            "complete_step",
            "deploy",
            json!({"result": {"summary": "runs"}, "next_step": "gate", "decided_by": "rules",
                "answer": {"reasoning": "healthy"}}),
        ),
        (
            6_000,
            "release_lock",
            "deploy",
            json!({"resource_lock": "deployment:staging", "held_ms": 4_000}),
        ),
        (
            6_000,
            "pause_workflow",
            "gate",
            json!({"reason": "awaiting_approval", "approval_id": "a", "approval_issue_id": null,
                "risk_level": "medium", "approver_role": "tech_lead", "required": 1,
                "risk_assessment": {"reasoning": "small"}, "details": {"tests": "all\npassed"}}),
        ),
        (
            16_000,
            "reject_gate",
            "gate",
            json!({"rejector": "ada", "rejector_role": "tech_lead", "approver": "ada",
                "approver_role": "tech_lead", "reason": "no"}),
        ),
        (
            16_000,
            "resume_workflow",
            "gate",
            json!({"decision": "rejected", "next_step": "notify_failure", "outcome": "failed"}),
        ),
        (16_000, "complete_workflow", "", json!({"status": "failed", "target": "notify_failure"})),
    ])
}

#[test]
fn events_become_stretches_of_time() {
    let history = rejected();
    assert_eq!(history.ended.map(|(_, status)| status), Some(Status::Failed));
    assert!(history.held.is_empty() && history.decision.is_none());
    let [deploy, gate] = history.stages.as_slice() else { panic!("{history:#?}") };
    let whats: Vec<_> = deploy.segments.iter().map(|segment| segment.what.clone()).collect();
    assert_eq!(whats, [What::Lock("deployment:staging".into()), What::Work]);
    assert_eq!(deploy.remark, "runs → gate (rules: healthy)");
    assert_eq!((deploy.ended_well, gate.ended_well), (Some(true), Some(false)));
    assert_eq!(gate.remark, "rejected by ada");
}

#[test]
fn a_person_is_asked_with_everything_they_need() {
    let asked = history(&[
        (0, "start_workflow", "gate", start()),
        (
            1,
            "pause_workflow",
            "gate",
            json!({"reason": "awaiting_approval", "approval_id": "a", "approval_issue_id": null,
                "risk_level": "high", "approver_role": null, "required": 1,
                "risk_assessment": {"reasoning": "settings change"}, "details": {"tests": "all\npassed"}}),
        ),
    ]);
    let decision = asked.decision.unwrap();
    assert_eq!((decision.role.as_str(), decision.risk.as_str()), ("somebody", "high"));
    assert_eq!(decision.reasoning, "settings change");
    assert_eq!(decision.details, [("tests".to_owned(), "all passed".to_owned())]);
}

#[test]
fn the_timeline_has_a_bar_for_each_visit() {
    let work = format!("{}{}", "░".repeat(5), "█".repeat(11));
    let expected = [
        format!("          0 s{}16.0 s", " ".repeat(35)),
        format!(
            "  deploy  {work:44}     6.0 s  infrastructure, waited 2.0 s for deployment:staging"
        ),
        format!(
            "  gate    {}{}    10.0 s  ✗ rejected by ada, 10.0 s for tech_lead",
            " ".repeat(16),
            "▒".repeat(28)
        ),
        "          █ work   ░ waits for a lock   ▒ waits for a person".to_owned(),
    ];
    assert_eq!(timeline::lines(&rejected()), expected);
    assert!(timeline::lines(&History::default()).is_empty());
}

#[test]
fn times_are_said_as_people_do() {
    for (ms, said) in
        [(0, "0.0 s"), (59_990, "59.9 s"), (61_000, "1 min 1 s"), (7_380_000, "2 h 3 min")]
    {
        assert_eq!(duration(ms), said);
    }
}
