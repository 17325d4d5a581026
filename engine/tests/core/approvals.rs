//! Nobody passes a gate who may not.

use serde_json::{Value, json};
use sluice_engine::{Refused, pending_approval};
use sluice_proto::event::Status;

use crate::run::Run;

fn asking(keys: &str) -> Run {
    Run::start(&format!(
        "steps:
  - {{id: approve, type: hitl_approval, on_approved: good, on_rejected: bad{keys}}}
  - {{id: good, type: agent_call, agent: reader}}
  - {{id: bad, type: agent_call, agent: reader}}
  - {{id: alone, type: agent_call, agent: reader}}
"
    ))
}

const LLM: &str = ", risk_assessment: {type: llm_assessment, prompt: Well?}";
const MAY_PASS: &str =
    ", on_auto_approved: alone, risk_assessment: {type: llm_assessment, prompt: Well?}";

/// Who is asked after this assessment; `alone` when nobody is.
fn check(keys: &str, assessment: Value, expected: &str) {
    let mut run = asking(keys);
    run.ok("approve.risk", assessment.clone());
    let asked = match pending_approval(&run.template, &run.state) {
        Some(pending) => format!("{} {}", pending.risk_level, pending.approver_role.unwrap()),
        None => run.outstanding()[0].split(':').next().unwrap().to_owned(),
    };
    assert_eq!(asked, expected, "{assessment}");
}

#[test]
fn passes_alone_only_at_low_risk_with_nobody_named() {
    check(MAY_PASS, json!({"risk_level": "low", "approver_role": "none"}), "alone");
    check(MAY_PASS, json!({"risk_level": " LOW ", "approver_role": ""}), "alone");
    check(MAY_PASS, json!({"risk_level": "low"}), "alone");
    check(MAY_PASS, json!({"risk_level": "low", "approver_role": null}), "alone");
    // The same where the step does not permit it.
    check(LLM, json!({"risk_level": "low", "approver_role": "none"}), "low tech_lead");
    check(MAY_PASS, json!({"risk_level": "low", "approver_role": "tech_lead"}), "low tech_lead");
    check(MAY_PASS, json!({"risk_level": "medium", "approver_role": "none"}), "medium tech_lead");
    // Two people are two people.
    let several = format!("{MAY_PASS}, requires_multiple_approvals: true");
    check(&several, json!({"risk_level": "low"}), "low tech_lead");
}

#[test]
fn what_nobody_could_assess_is_high() {
    check(MAY_PASS, json!({}), "high devops_engineer");
    check(MAY_PASS, json!({"risk_level": "banana"}), "high devops_engineer");
    check(MAY_PASS, json!({"risk_level": 1, "approver_role": "none"}), "high devops_engineer");
    check(MAY_PASS, json!({"response": "low, I would say"}), "high devops_engineer");
}

#[test]
fn who_decides() {
    check(LLM, json!({"risk_level": "medium"}), "medium tech_lead");
    check(LLM, json!({"risk_level": "critical"}), "critical devops_engineer");
    check(
        LLM,
        json!({"risk_level": "high", "approver_role": "Security Team"}),
        "high security_team",
    );
    // A role that nobody has is no role, and no reason to pass alone either.
    check(MAY_PASS, json!({"risk_level": "low", "approver_role": "chief"}), "low tech_lead");
    check(MAY_PASS, json!({"risk_level": "low", "approver_role": 7}), "low tech_lead");
}

#[test]
fn an_approval_without_a_person_is_recorded_as_one() {
    let mut run = asking(MAY_PASS);
    let events = run.ok("approve.risk", json!({"risk_level": "low", "reasoning": "tiny"}));
    assert_eq!(events, ["approve_gate approve", "complete_step approve"]);
    let data = run.data("approve_gate");
    assert_eq!((&data["approver"], &data["approver_role"]), (&json!("system"), &json!("auto")));
    let data = run.data("complete_step");
    assert_eq!(
        (&data["decision"], &data["decided_by"]),
        (&json!("auto_approved"), &json!("system"))
    );
    assert_eq!(run.output("approve")["reasoning"], "tiny");
    assert!(run.state.approvals.is_empty());
}

#[test]
fn a_model_that_fails_means_a_person() {
    let mut run = asking(MAY_PASS);
    assert_eq!(run.exhaust("approve.risk"), 3);
    let pending = pending_approval(&run.template, &run.state).unwrap();
    assert_eq!(pending.risk_level, "high");
    assert_eq!(pending.approver_role.as_deref(), Some("devops_engineer"));
    assert_eq!(pending.reasoning.as_deref(), Some("risk unknown: it went wrong"));
    assert_eq!(run.state.status, Status::Paused);
    run.approve("ada");
    assert_eq!(run.outstanding(), ["good:1:1"]);
}

#[test]
fn risks_that_need_no_model() {
    let role = |run: &Run| pending_approval(&run.template, &run.state).unwrap().approver_role;
    assert_eq!(role(&asking("")).as_deref(), Some("devops_engineer"));
    let fixed = asking(", risk_assessment: {type: override, risk_level: low, approver_role: cto}");
    assert_eq!(role(&fixed).as_deref(), Some("cto"));
    let rules = "{type: llm_assessment, prompt: Well?, rules: [{when: \"true\", answer: {risk_level: low}}]}";
    let ruled = asking(&format!(", on_auto_approved: alone, risk_assessment: {rules}"));
    assert_eq!(ruled.outstanding(), ["alone:1:1"]);
    assert_eq!(ruled.output("approve")["decided_by"], "rules");
}

#[test]
fn the_record_says_who_assessed_the_risk() {
    let by = |run: &Run| run.data("pause_workflow")["risk_assessment"]["decided_by"].clone();
    let mut asked = asking(LLM);
    asked.ok("approve.risk", json!({"risk_level": "low", "decided_by": "rules"}));
    assert_eq!(by(&asked), "model", "whatever it claims");
    let mut silent = asking(LLM);
    silent.exhaust("approve.risk");
    assert_eq!(by(&silent), "system");
}

#[test]
fn the_assessment_of_an_earlier_gate() {
    let text = "steps:
  - id: review
    type: agent_call
    agent: reader
    decision_gate: {type: llm_assessment, prompt: Well?, on_proceed: approve}
  - {id: approve, type: hitl_approval, risk_assessment: {use_previous: review}, on_approved: workflow_complete, on_rejected: workflow_failed}
";
    let mut run = Run::start(text);
    run.ok("review", json!({"risk_level": "low"}));
    run.ok(
        "review.gate",
        json!({"decision": "proceed", "risk_level": "critical", "approver_role": "cto"}),
    );
    // The gate's answer counts, not what the agent said of itself.
    let pending = pending_approval(&run.template, &run.state).unwrap();
    assert_eq!(
        (pending.risk_level.as_str(), pending.approver_role.as_deref()),
        ("critical", Some("cto"))
    );
    assert_eq!(run.data("pause_workflow")["risk_assessment"]["decided_by"], "model");
}

const TWO: &str = ", risk_assessment: {type: override, risk_level: critical, requires_multiple_approvals: true, approval_count: 2}";

#[test]
fn two_are_two_different_people() {
    let mut run = asking(TWO);
    assert_eq!(run.approve("ada"), ["approve_gate approve"]);
    assert_eq!(run.decide(true, Some("ada")), Err(Refused::SameApprover("ada".to_owned())));
    assert_eq!(run.decide(true, Some(" ada ")), Err(Refused::SameApprover("ada".to_owned())));
    assert_eq!(run.decide(true, Some("ADA")), Err(Refused::SameApprover("ADA".to_owned())));
    assert_eq!(run.state.status, Status::Paused);
    assert_eq!(pending_approval(&run.template, &run.state).unwrap().received, 1);
    assert_eq!(run.approve("bob"), ["approve_gate approve", "resume_workflow approve"]);
    assert_eq!(run.output("approve")["approvers"], json!(["ada", "bob"]));
    assert_eq!(run.outstanding(), ["good:1:1"]);
}

#[test]
fn the_anonymous_count_once() {
    let mut run = asking(TWO);
    run.decide(true, None).unwrap();
    for nobody in [None, Some(""), Some("  "), Some("unknown")] {
        assert_eq!(run.decide(true, nobody), Err(Refused::SameApprover("unknown".to_owned())));
    }
    run.approve("ada");
    assert_eq!(run.outstanding(), ["good:1:1"]);
}

#[test]
fn one_rejection_ends_it() {
    let mut run = asking(TWO);
    run.approve("ada");
    assert_eq!(run.reject("ada"), ["reject_gate approve", "resume_workflow approve"]);
    assert_eq!(run.outstanding(), ["bad:1:1"]);
    assert_eq!(run.decide(true, Some("bob")), Err(Refused::NotPaused));
    assert_eq!(run.state.approvals[0].status, "rejected");
}

#[test]
fn targets_that_the_author_left_out() {
    let text = "steps: [{id: approve, type: hitl_approval}]\n";
    let mut run = Run::start(text);
    run.reject("ada");
    assert_eq!(run.ending(), (Status::Failed, json!("workflow_failed")));
    let mut run = Run::start(text);
    run.approve("ada");
    assert_eq!(run.ending(), (Status::Completed, json!("workflow_complete")));
}

#[test]
fn a_decision_that_comes_too_late_or_too_early() {
    let mut run = asking(LLM);
    assert_eq!(run.decide(true, Some("ada")), Err(Refused::NotPaused));
    run.ok("approve.risk", json!({"risk_level": "low"}));
    run.approve("ada");
    assert_eq!(run.decide(true, Some("bob")), Err(Refused::NotPaused));
    run.ok("good", json!({}));
    assert_eq!(run.decide(false, Some("bob")), Err(Refused::NotPaused));
}

#[test]
fn people_are_told_and_told_again() {
    let mut run = asking("");
    assert_eq!(run.outstanding(), ["approve.announce:1:1", "apr-run-1-1"]);
    assert_eq!(
        run.fail("approve.announce", Some(true)),
        ["fail_step approve.announce", "retry_step approve.announce"]
    );
    assert_eq!(run.outstanding(), ["approve.announce:1:2", "apr-run-1-1"]);
    run.exhaust("approve.announce");
    // Nobody could be told, and the approval waits all the same.
    assert_eq!(run.outstanding(), ["apr-run-1-1"]);
    assert_eq!(run.data("notify")["status"], "failed");
    run.approve("ada");
    assert_eq!(run.outstanding(), ["good:1:1"]);
}

#[test]
fn a_decision_takes_the_announcement_along() {
    let mut run = asking("");
    run.approve("ada");
    assert_eq!(run.outstanding(), ["good:1:1"]);
}

const DOCS: &str = "steps:
  - {id: write, type: agent_call, agent: reader, on_success: review}
  - id: review
    type: agent_call
    agent: reader
    decision_gate: {type: llm_assessment, prompt: Well?, on_approve: approve, on_revise: request_changes}
  - {id: approve, type: hitl_approval, on_approved: workflow_complete, on_rejected: request_changes}
  - {id: request_changes, type: notification, channels: [github], on_complete: workflow_paused}
notifications:
  - {trigger: workflow_failed, channels: [log]}
";

/// Up to the pause that follows a gate which wants changes.
fn sent_back() -> Run {
    let mut run = Run::start(DOCS);
    run.ok("write", json!({}));
    run.ok("review", json!({"notes": 2}));
    run.ok("review.gate", json!({"decision": "revise", "required_changes": ["more"]}));
    run.ok("request_changes", json!({}));
    run
}

#[test]
fn changes_are_asked_of_the_step_whose_gate_diverted() {
    let mut run = sent_back();
    assert_eq!(run.state.status, Status::Paused);
    let data = run.data("pause_workflow");
    assert_eq!(data["reason"], "changes_requested");
    assert_eq!(
        data["details"],
        json!({"notes": 2, "decision": "revise", "required_changes": ["more"]})
    );
    assert_eq!(pending_approval(&run.template, &run.state).unwrap().step_id, "review");
    run.approve("ada");
    assert_eq!(run.state.status, Status::Running);
    assert_eq!(run.outstanding(), ["review:2:1"]);
    // What the step left stays until it leaves something new.
    assert_eq!(run.output("review")["notes"], 2);
    run.ok("review", json!({"notes": 0}));
    run.ok("review.gate", json!({"decision": "approve"}));
    assert_eq!(run.output("review"), &json!({"notes": 0, "decision": "approve"}));
    run.approve("ada");
    assert_eq!(run.state.status, Status::Completed);
}

#[test]
fn changes_that_nobody_wants_to_make_end_the_run() {
    let mut run = sent_back();
    run.reject("ada");
    assert_eq!(run.ending(), (Status::Failed, json!("workflow_failed")));
    assert_eq!(run.outstanding(), ["workflow_failed.notify.0:1:1"]);
}

#[test]
fn a_rejection_may_lead_to_changes_and_a_second_one_ends_it() {
    let mut run = Run::start(DOCS);
    run.ok("write", json!({}));
    run.ok("review", json!({}));
    run.ok("review.gate", json!({"decision": "approve"}));
    run.reject("ada");
    run.ok("request_changes", json!({}));
    assert_eq!(pending_approval(&run.template, &run.state).unwrap().step_id, "review");
    run.reject("ada");
    assert_eq!(run.state.status, Status::Failed);
}

#[test]
fn one_visit_may_ask_people_twice() {
    let mut run = Run::start(
        "steps: [{id: approve, type: hitl_approval, on_approved: workflow_complete, on_rejected: workflow_paused}]\n",
    );
    assert_eq!(run.outstanding(), ["approve.announce:1:1", "apr-run-1-1"]);
    run.ok("approve.announce", json!({}));
    run.reject("ada");
    // Another message, not the first one once more.
    assert_eq!(run.outstanding(), ["approve.announce:2:1", "apr-run-1-2"]);
    run.approve("ada");
    assert_eq!(run.outstanding(), ["approve.announce:3:1", "apr-run-1-3"]);
}
