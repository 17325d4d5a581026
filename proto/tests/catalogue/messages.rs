//! Messages between coordinator and workers.

use serde_json::json;
use sluice_proto::ids::{AgentName, CommandId, WorkflowId};
use sluice_proto::message::{
    AgentError, CancelNotice, Claim, ClaimReply, Command, CommandKind, CommandLock, Heartbeat,
    MESSAGE_VERSION, Recovery, Refusal, ResultReply, ResultStatus, StepResult, Usage,
};

use super::Direction::{Read, Written};
use super::{Entry, entry, moment, object};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        entry("command", Written, vec![("minimal", minimal_command()), ("full", full_command())]),
        entry("claim", Read, vec![("", claim())]),
        entry("claim_reply", Written, vec![("granted", granted()), ("refused", refused())]),
        entry("heartbeat", Read, vec![("", heartbeat()), ("progress", progress())]),
        entry("step_result", Read, vec![("ok", ok_result()), ("error", error_result())]),
        entry(
            "result_reply",
            Written,
            vec![("recorded", ResultReply::Recorded), ("refused", not_recorded())],
        ),
        entry("cancel_notice", Written, vec![("", cancel_notice())]),
    ]
}

fn command_id() -> CommandId {
    CommandId::parse("hotfix-5d20c1e7:deploy_production:1:2").unwrap()
}

fn workflow_id() -> WorkflowId {
    WorkflowId::parse("hotfix-5d20c1e7").unwrap()
}

fn minimal_command() -> Command {
    Command {
        v: MESSAGE_VERSION,
        command_id: command_id(),
        workflow_id: workflow_id(),
        template_name: "hotfix.workflow.yaml".into(),
        step_id: "deploy_production".into(),
        visit: 1,
        attempt: 2,
        dispatch: 1,
        kind: CommandKind::AgentCall,
        agent: AgentName::parse("cicd").unwrap(),
        payload: json!({}),
        context: object(json!({"pr_number": 456})),
        idempotency_key: command_id().idempotency_key(),
        fence: 7,
        claim: true,
        lease_ms: 10_000,
        timeout_ms: 120_000,
        budget: None,
        insights: Vec::new(),
        locks: Vec::new(),
        recovery: None,
    }
}

/// What an agent is told about a failure.
pub(crate) fn recovery() -> Recovery {
    Recovery {
        tier: 3,
        signature: "http_503: no capacity in eu #".into(),
        error: "no capacity in eu-1".into(),
        error_type: "http_503".into(),
        failures: 7,
        recovered: 5,
        fix: Some("waited for the quota to be raised".into()),
        diagnosis: Some(object(json!({"cause": "the quota of eu-1 is used up"}))),
    }
}

fn full_command() -> Command {
    Command {
        kind: CommandKind::Gate,
        agent: AgentName::llm(),
        payload: json!({"prompt": "Is it safe?", "answers": ["proceed", "block"]}),
        claim: false,
        budget: Some(json!({"cost_usd": 2.5})),
        insights: vec![json!({"insight_type": "security_finding", "content": "token in the log"})],
        locks: vec![CommandLock { name: "deployment:production".into(), fencing_number: 12 }],
        recovery: Some(recovery()),
        ..minimal_command()
    }
}

fn claim() -> Claim {
    Claim { v: MESSAGE_VERSION, command_id: command_id(), fence: 7, worker_id: "worker-a".into() }
}

fn granted() -> ClaimReply {
    ClaimReply::Granted { fence: 8, lease_until: moment(10) }
}

fn refused() -> ClaimReply {
    ClaimReply::Refused { reason: Refusal::HeldByAnother }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        v: MESSAGE_VERSION,
        command_id: command_id(),
        fence: 8,
        worker_id: "worker-a".into(),
        progress: None,
    }
}

fn progress() -> Heartbeat {
    Heartbeat { progress: Some(json!({"log": "12 of 40 tests passed"})), ..heartbeat() }
}

fn ok_result() -> StepResult {
    StepResult {
        v: MESSAGE_VERSION,
        command_id: command_id(),
        workflow_id: workflow_id(),
        fence: 8,
        status: ResultStatus::Ok,
        output: Some(json!({"deployed": true, "version": "1.4.2"})),
        error: None,
        usage: Some(Usage {
            model: Some("small".into()),
            input_tokens: Some(1_200),
            output_tokens: Some(80),
            cost_usd: Some(0.0125),
        }),
        insights: vec![json!({"insight_type": "general", "content": "two replicas were slow"})],
        worker_id: "worker-a".into(),
        started_at: moment(0),
        finished_at: moment(4),
    }
}

fn error_result() -> StepResult {
    StepResult {
        status: ResultStatus::Error,
        output: None,
        error: Some(AgentError {
            code: "http_503".into(),
            message: "the registry answered 503".into(),
            retryable: Some(true),
            retry_after_ms: Some(2_000),
        }),
        usage: None,
        insights: Vec::new(),
        ..ok_result()
    }
}

fn not_recorded() -> ResultReply {
    ResultReply::Refused { reason: Refusal::StaleFence }
}

fn cancel_notice() -> CancelNotice {
    CancelNotice {
        v: MESSAGE_VERSION,
        command_id: command_id(),
        fence: 8,
        reason: "the run was cancelled".into(),
    }
}
