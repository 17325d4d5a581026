//! Bodies of the verbs that operators use.

use sluice_proto::event::Status;
use sluice_proto::operations::{
    DeadLetterAct, DeadLetterActRequest, DeadLetterRequest, DeadLetterStatus, DeadLetterSummary,
    DeadLetterView, DeadLettersRequest, DeadLettersResponse, HeldAttempt, LockHolder, LockView,
    LockWaiter, LocksResponse, ReleaseLockRequest, ReleaseLockResponse, Wait, WaitKind,
    WhyResponse, WorkerStatus, WorkerView, WorkersResponse,
};

use super::Direction::{Read, Written};
use super::{Entry, entry, moment};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        entry("dead_letters_request", Read, vec![("", dead_letters_request())]),
        entry("dead_letters_response", Written, vec![("", dead_letters())]),
        entry("dead_letter_request", Read, vec![("", DeadLetterRequest { dead_letter_id: 7 })]),
        entry("dead_letter_act_request", Read, vec![("", dead_letter_act())]),
        entry("dead_letter_view", Written, vec![("", dead_letter())]),
        entry("locks_response", Written, vec![("", locks())]),
        entry("release_lock_request", Read, vec![("", release())]),
        entry("release_lock_response", Written, vec![("", released())]),
        entry("why_response", Written, vec![("", why())]),
        entry("workers_response", Written, vec![("", workers())]),
    ]
}

fn workers() -> WorkersResponse {
    let attempt = HeldAttempt {
        workflow_id: "hotfix-5d20c1e7".into(),
        step_id: "deploy_production".into(),
        attempt: 1,
        agent: "cicd".into(),
        since: moment(3),
        lease_until: moment(19),
        claimed: true,
    };
    let live = WorkerView {
        name: Some("build-1".into()),
        worker_id: "build-1-311-18c2a7".into(),
        status: WorkerStatus::Live,
        agents: vec!["cicd".into(), "sluice-llm".into()],
        concurrency: Some(64),
        version: Some("0.1.0".into()),
        started_at: Some(moment(0)),
        last_heard_at: Some(moment(9)),
        held: 2,
        attempts: vec![attempt],
    };
    WorkersResponse { workers: vec![live], count: 1 }
}

fn locks() -> LocksResponse {
    let holder = LockHolder {
        workflow_id: "infra-77a1c2d3".into(),
        step_id: "plan_changes".into(),
        since: moment(0),
        status: "paused".into(),
        current_step: Some("approval_gate".into()),
        template_name: "infrastructure.workflow.yaml".into(),
    };
    let waiter = LockWaiter {
        workflow_id: "infra-90b1c2d4".into(),
        step_id: "plan_changes".into(),
        position: 1,
        urgent: false,
        since: moment(5),
        wait_until: None,
    };
    let lock = LockView {
        name: "infrastructure:staging".into(),
        holder: Some(holder),
        fencing_number: 12,
        waiters: vec![waiter],
        waiters_count: 1,
    };
    LocksResponse { locks: vec![lock], count: 1 }
}

fn release() -> ReleaseLockRequest {
    ReleaseLockRequest {
        name: "infrastructure:staging".into(),
        reason: "the approver is on leave".into(),
        released_by: Some("ada".into()),
        workflow_id: Some("infra-77a1c2d3".into()),
        request_id: None,
    }
}

fn released() -> ReleaseLockResponse {
    ReleaseLockResponse {
        name: "infrastructure:staging".into(),
        workflow_id: "infra-77a1c2d3".into(),
        status: Status::Paused,
        handed_to: Some("infra-90b1c2d4".into()),
    }
}

fn why() -> WhyResponse {
    let sentence = "step 'plan_changes' waits for lock 'infrastructure:staging' since 2031-03-04T05:06:05Z, \
        1st in the queue; infra-77a1c2d3 holds it (paused at approval_gate)";
    let wait = Wait {
        kind: WaitKind::Lock,
        step_id: Some("plan_changes".into()),
        sentence: sentence.into(),
        who: "whoever moves infra-77a1c2d3; `sluice locks release` takes the lock away".into(),
        since: Some(moment(5)),
        until: None,
        attempt: None,
        agent: None,
        worker: None,
        lock: Some("infrastructure:staging".into()),
        holder: Some("infra-77a1c2d3".into()),
        position: Some(1),
        approval_id: None,
        approver_role: None,
        child_workflow_id: None,
    };
    WhyResponse {
        workflow_id: "infra-90b1c2d4".into(),
        status: Status::Running,
        sentence: sentence.into(),
        waits: vec![wait],
    }
}

fn dead_letters_request() -> DeadLettersRequest {
    DeadLettersRequest {
        status: Some(DeadLetterStatus::Dropped),
        limit: Some(50),
        before: Some(120),
    }
}

fn dead_letter_summary(status: DeadLetterStatus) -> DeadLetterSummary {
    DeadLetterSummary {
        dead_letter_id: 7,
        source: "command".into(),
        subject: "sluice.command.v1.workflow.execute".into(),
        reason: "no template 'hotfx.workflow.yaml'".into(),
        status,
        payload_bytes: 46,
        workflow_id: None,
        delivered_count: Some(1),
        created_at: moment(0),
    }
}

fn dead_letters() -> DeadLettersResponse {
    let letter = dead_letter_summary(DeadLetterStatus::Waiting);
    DeadLettersResponse { dead_letters: vec![letter], count: 1, waiting: 1 }
}

fn dead_letter_act() -> DeadLetterActRequest {
    DeadLetterActRequest {
        dead_letter_id: 7,
        by: Some("ada".into()),
        comment: Some("the template is there now".into()),
    }
}

fn dead_letter() -> DeadLetterView {
    let act = DeadLetterAct {
        act: "redrive".into(),
        by: "ada".into(),
        comment: Some("the template is there now".into()),
        at: moment(60),
    };
    DeadLetterView {
        summary: dead_letter_summary(DeadLetterStatus::Redriven),
        payload: r#"{"template_name":"hotfx","context":{"pr":"1"}}"#.into(),
        payload_is_cut: false,
        acts: vec![act],
    }
}
