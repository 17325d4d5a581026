//! Events, one sample an action.

use serde_json::json;
use sluice_proto::event::{
    AcquireLock, Annotate, ApproveGate, BranchStart, CancelWorkflow, CaptureInsight,
    ChildWorkflowComplete, CompleteStep, CompleteWorkflow, ContinueWorkflow, CreateSnapshot,
    EVENT_VERSION, Escalate, Event, EventBody, ExpireWorkflow, FailStep, Next, Notify, Outcome,
    PauseWorkflow, RecordOutput, RejectGate, ReleaseLock, ResumeWorkflow, RetryStep, RollbackStep,
    StartBranches, StartChildWorkflow, StartTimer, StartWorkflow, Status, SuspendWorkflow,
    WaitLock,
};
use sluice_proto::ids::{AgentName, WorkflowId};
use sluice_proto::message::Usage;

use super::Direction::Written;
use super::{Entry, moment, object};

pub(crate) fn entry() -> Entry {
    let events = all_bodies().into_iter().zip(1..).map(|(body, sequence)| event(body, sequence));
    super::entry("event", Written, events.map(|event| (event.body.action(), event)).collect())
}

/// The sample of one action.
pub(super) fn sample(action: &str) -> Event {
    let body = all_bodies().into_iter().find(|body| body.action() == action).unwrap();
    event(body, 3)
}

fn event(body: EventBody, sequence: u64) -> Event {
    Event {
        event_id: format!("00000000-0000-7000-8000-{sequence:012}"),
        workflow_id: workflow_id(),
        parent_workflow_id: None,
        sequence,
        step_id: step_of(&body).map(str::to_owned),
        timestamp: moment(0),
        event_version: EVENT_VERSION,
        prev_hash: "0".repeat(64),
        key_id: "8f434346648f6b96".into(),
        body,
    }
}

/// The match names every action, so that a new one does not compile before it has a sample.
fn step_of(body: &EventBody) -> Option<&'static str> {
    match body {
        EventBody::StartWorkflow(_) => Some("plan_changes"),
        EventBody::PauseWorkflow(_)
        | EventBody::ApproveGate(_)
        | EventBody::RejectGate(_)
        | EventBody::ResumeWorkflow(_) => Some("approval_gate"),
        EventBody::RecordOutput(_)
        | EventBody::CancelWorkflow(_)
        | EventBody::SuspendWorkflow(_)
        | EventBody::ContinueWorkflow(_)
        | EventBody::ExpireWorkflow(_)
        | EventBody::Escalate(_)
        | EventBody::CompleteStep(_)
        | EventBody::FailStep(_)
        | EventBody::RetryStep(_)
        | EventBody::RollbackStep(_)
        | EventBody::WaitLock(_)
        | EventBody::AcquireLock(_)
        | EventBody::ReleaseLock(_)
        | EventBody::StartTimer(_)
        | EventBody::StartBranches(_)
        | EventBody::StartChildWorkflow(_)
        | EventBody::ChildWorkflowComplete(_)
        | EventBody::CaptureInsight(_) => Some("apply_changes"),
        EventBody::Notify(_)
        | EventBody::CompleteWorkflow(_)
        | EventBody::Annotate(_)
        | EventBody::CreateSnapshot(_) => None,
    }
}

fn all_bodies() -> Vec<EventBody> {
    let mut bodies = step_bodies();
    bodies.extend(people_bodies());
    bodies.extend(lock_bodies());
    bodies.extend(closing_bodies());
    bodies.extend(note_bodies());
    bodies
}

fn note_bodies() -> Vec<EventBody> {
    vec![
        EventBody::Annotate(Annotate {
            operator: "alice@example.com".into(),
            comment: "approved by hand: the customer waits".into(),
            event_id: Some("00000000-0000-7000-8000-000000000007".into()),
        }),
        EventBody::CreateSnapshot(CreateSnapshot {
            snapshot_id: "00000000-0000-7000-8000-00000000000a".into(),
            event_count: 10,
            state_sha256: "cd".repeat(32),
        }),
    ]
}

fn workflow_id() -> WorkflowId {
    WorkflowId::parse("infrastructure-01ab23cd").unwrap()
}

fn step_bodies() -> Vec<EventBody> {
    vec![
        EventBody::StartWorkflow(StartWorkflow {
            context: object(json!({"environment": "staging", "resources": []})),
            template_name: "infrastructure.workflow.yaml".into(),
            template_version: "1.0".into(),
            template_sha256: "ab".repeat(32),
            participating_agents: vec![AgentName::parse("infrastructure").unwrap()],
            next_lock: Some("infrastructure:staging".into()),
            deadline_at: None,
        }),
        EventBody::RecordOutput(RecordOutput {
            result: object(json!({"status": "applied"})),
            attempt: 1,
            duration_ms: 1_250,
            usage: Some(usage()),
        }),
        EventBody::CompleteStep(CompleteStep {
            result: object(json!({"status": "applied", "decision": "success"})),
            next: Next { next_step: Some("update_documentation".into()), ..locked_step() },
            decision: Some("success".into()),
            decided_by: Some("rules".into()),
            answer: Some(object(json!({"decision": "success"}))),
            failure_reason: None,
            attempt: Some(1),
            duration_ms: Some(1_250),
            usage: Some(usage()),
            problems: vec!["outputs.plan.total: missing".into()],
            rolled_back: false,
        }),
        EventBody::FailStep(FailStep {
            error: "the provider answered 500".into(),
            error_type: "http_500".into(),
            retriable: true,
            attempt: 2,
            is_final: true,
            next: Next {
                next_step: Some("workflow_failed".into()),
                next_lock: None,
                outcome: Some(Outcome::Failed),
            },
            exhausted: false,
            compensates: false,
            diagnosed_by: Some(AgentName::parse("supervisor").unwrap()),
            result: object(json!({"succeeded": ["eu"], "failed": ["us"]})),
        }),
        EventBody::RetryStep(RetryStep {
            retry_attempt: 1,
            max_retries: 3,
            backoff_delay: 2.5,
            next_retry_at: moment(3),
            recovery: Some(super::messages::recovery()),
            command: None,
        }),
        EventBody::RollbackStep(RollbackStep {
            reason: "the provider answered 500".into(),
            by_step: "rollback_changes".into(),
            compensated: None,
        }),
    ]
}

fn people_bodies() -> Vec<EventBody> {
    vec![
        EventBody::PauseWorkflow(PauseWorkflow {
            reason: "awaiting_approval".into(),
            approval_id: "apr-1".into(),
            approval_issue_id: None,
            risk_level: "critical".into(),
            approver_role: Some("devops_engineer".into()),
            risk_assessment: object(
                json!({"risk_level": "critical", "reasoning": "touches the network"}),
            ),
            details: object(json!({"environment": "staging"})),
            required: 2,
        }),
        EventBody::ApproveGate(ApproveGate {
            approver: "alice@example.com".into(),
            approver_role: "devops_engineer".into(),
            comment: Some("looks right".into()),
            justification: Some("planned work".into()),
            unverified: true,
        }),
        EventBody::RejectGate(RejectGate {
            rejector: "bob@example.com".into(),
            rejector_role: "tech_lead".into(),
            approver: "bob@example.com".into(),
            approver_role: "tech_lead".into(),
            reason: "wrong region".into(),
            unverified: false,
        }),
        EventBody::ResumeWorkflow(ResumeWorkflow {
            decision: "approved".into(),
            next: locked_step(),
            result: object(json!({"decision": "approved"})),
        }),
    ]
}

fn lock_bodies() -> Vec<EventBody> {
    let resource_lock = "infrastructure:staging".to_owned();
    vec![
        EventBody::WaitLock(WaitLock {
            resource_lock: resource_lock.clone(),
            holder: Some(WorkflowId::parse("infrastructure-99").unwrap()),
        }),
        EventBody::AcquireLock(AcquireLock {
            resource_lock: resource_lock.clone(),
            wait_ms: 90_000,
            fencing_number: 12,
        }),
        EventBody::ReleaseLock(ReleaseLock { resource_lock, held_ms: 60_000, forced: None }),
    ]
}

fn closing_bodies() -> Vec<EventBody> {
    vec![
        EventBody::Notify(Notify {
            notification_id: "ntf-1".into(),
            trigger: "workflow_complete".into(),
            channels: vec!["slack".into(), "log".into()],
            template: Some("infrastructure_applied".into()),
            status: "requested".into(),
            payload: Some(object(json!({"environment": "staging"}))),
            error: None,
        }),
        EventBody::CaptureInsight(CaptureInsight {
            insight_id: "ins-1".into(),
            agent_id: "infrastructure".into(),
            insight_type: "cost_finding".into(),
            content: "the old volume is unused".into(),
            confidence: 0.8,
            source_step: "apply_changes".into(),
        }),
        EventBody::CompleteWorkflow(CompleteWorkflow {
            status: Status::RolledBack,
            target: "workflow_failed".into(),
            failure_reason: Some("http_500".into()),
        }),
        EventBody::StartTimer(StartTimer { until: moment(90) }),
        EventBody::CancelWorkflow(CancelWorkflow {
            reason: "Emergency fix deployed".into(),
            cancelled_by: "ops@example.com".into(),
            target: "workflow_failed".into(),
            next: Next { next_step: Some("rollback_changes".into()), ..locked_step() },
        }),
        EventBody::Escalate(Escalate {
            issue: None,
            priority: "urgent".into(),
            reason: "any_failure".into(),
            error: "the provider answered 500".into(),
            error_type: "http_500".into(),
            escalation_path: vec!["infrastructure".into(), "hitl".into()],
            channels: vec!["slack".into()],
            notification_id: "apply_changes.notify.escalation".into(),
            payload: object(json!({"trigger": "escalation"})),
        }),
        EventBody::SuspendWorkflow(SuspendWorkflow {
            reason: "the provider has trouble".into(),
            suspended_by: "ops@example.com".into(),
            in_flight: vec!["apply_changes:1:1".into()],
        }),
        EventBody::ContinueWorkflow(ContinueWorkflow { continued_by: "ops@example.com".into() }),
        EventBody::ExpireWorkflow(ExpireWorkflow {
            reason: "deadline_exceeded".into(),
            error: "the run was not over by its deadline".into(),
            next: Next {
                next_step: Some("workflow_failed".into()),
                next_lock: None,
                outcome: Some(Outcome::Failed),
            },
        }),
        EventBody::StartBranches(StartBranches {
            branches: vec![BranchStart {
                branch: "0".into(),
                next: Next {
                    next_step: Some("each_region.0.apply".into()),
                    next_lock: Some("infrastructure:eu".into()),
                    outcome: None,
                },
            }],
            total: Some(2),
            items: Some(vec![json!("eu"), json!({"region": "us"})]),
        }),
        EventBody::StartChildWorkflow(StartChildWorkflow {
            child_workflow_id: WorkflowId::parse("hotfix-0123456789abcdef").unwrap(),
            template_name: "hotfix.workflow.yaml".into(),
        }),
        EventBody::ChildWorkflowComplete(ChildWorkflowComplete {
            child_workflow_id: WorkflowId::parse("hotfix-0123456789abcdef").unwrap(),
            status: Status::Failed,
            error: Some("the provider answered 500".into()),
        }),
    ]
}

fn locked_step() -> Next {
    Next {
        next_step: Some("apply_changes".into()),
        next_lock: Some("infrastructure:staging".into()),
        outcome: None,
    }
}

fn usage() -> Usage {
    Usage {
        model: Some("small".into()),
        input_tokens: Some(900),
        output_tokens: Some(45),
        cost_usd: None,
    }
}
