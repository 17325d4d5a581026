//! Bodies of the API.

use indexmap::IndexMap;
use serde_json::{Value, json};
use sluice_proto::api::{
    CancelCleanup, CancelRequest, CancelResponse, ChildWorkflow, EventRecord, EventsRequest,
    EventsResponse, ExecuteRequest, ExecuteResponse, HealthResponse, ListCursor, ListRequest,
    ListResponse, PendingApproval, ResumeRequest, ResumeResponse, RetryRequest, RetryResponse,
    StateResponse, StatusResponse, TemplateSummary, TemplatesResponse, ValidateRequest,
    ValidateResponse, WorkflowRequest, WorkflowSummary,
};
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::event::{Status, StepStatus};
use sluice_proto::ids::WorkflowId;

use super::Direction::{Read, Written};
use super::{Entry, entry, moment, object};

pub(crate) fn entries() -> Vec<Entry> {
    vec![
        entry("api_error", Written, vec![("", unknown_workflow()), ("fields", missing_context())]),
        entry("events_request", Read, vec![("minimal", events()), ("full", events_filtered())]),
        entry("events_response", Written, vec![("", events_response())]),
        entry("cancel_request", Read, vec![("", cancel())]),
        entry("cancel_response", Written, vec![("", cancel_response())]),
        entry("execute_request", Read, vec![("minimal", execute()), ("full", execute_once())]),
        entry("execute_response", Written, vec![("", execute_response())]),
        entry("health_response", Written, vec![("", health())]),
        entry("list_request", Read, vec![("minimal", ListRequest::default()), ("full", list())]),
        entry("list_response", Written, vec![("", list_response())]),
        entry("resume_request", Read, vec![("minimal", resume()), ("full", resume_with_reasons())]),
        entry("resume_response", Written, vec![("", resume_response())]),
        entry("retry_request", Read, vec![("", retry())]),
        entry("retry_response", Written, vec![("", retry_response())]),
        entry("state_response", Written, vec![("", state_response())]),
        entry("status_response", Written, vec![("paused", paused()), ("failed", failed())]),
        entry("templates_response", Written, vec![("", templates())]),
        entry("validate_request", Read, vec![("", validate())]),
        entry("validate_response", Written, vec![("", validate_response())]),
        entry("workflow_request", Read, vec![("", WorkflowRequest { workflow_id: ID.into() })]),
    ]
}

const ID: &str = "pr-deployment-5d20c1e7";
const TEMPLATE: &str = "pr-deployment.workflow.yaml";

fn workflow_id() -> WorkflowId {
    WorkflowId::parse(ID).unwrap()
}

fn unknown_workflow() -> ApiError {
    ApiError::new(ErrorCode::WorkflowNotFound, "no workflow 'x'")
}

fn missing_context() -> ApiError {
    ApiError::field("context", "missing")
}

fn events() -> EventsRequest {
    EventsRequest { workflow_id: ID.into(), ..EventsRequest::default() }
}

fn events_filtered() -> EventsRequest {
    EventsRequest {
        action: Some("COMPLETE_STEP".into()),
        limit: Some(50),
        offset: Some(100),
        step: Some("deploy_staging".into()),
        from: Some(moment(0)),
        to: Some(moment(60)),
        actor: Some("alice@example.com".into()),
        after: Some(200),
        ..events()
    }
}

fn events_response() -> EventsResponse {
    let event = super::events::sample("release_lock");
    EventsResponse {
        workflow_id: event.workflow_id.clone(),
        total_events: 17,
        offset: 2,
        limit: 1,
        events: vec![EventRecord { event, signature: "5".repeat(64) }],
        next: Some(3),
    }
}

fn execute() -> ExecuteRequest {
    ExecuteRequest {
        template_name: TEMPLATE.into(),
        context: object(json!({"pr_number": 1, "branch": "test"})),
        workflow_id: None,
        parent_workflow_id: None,
        request_id: None,
    }
}

fn execute_once() -> ExecuteRequest {
    ExecuteRequest {
        workflow_id: Some(ID.into()),
        parent_workflow_id: Some("feature-0123456789abcdef".into()),
        request_id: Some("build-1234".into()),
        ..execute()
    }
}

fn execute_response() -> ExecuteResponse {
    ExecuteResponse {
        workflow_id: workflow_id(),
        status: Status::Running,
        current_step: Some("code_review".into()),
        started_at: moment(0),
        completed_at: None,
        step_statuses: step_statuses(&[
            ("code_review", StepStatus::Running),
            ("run_tests", StepStatus::Pending),
        ]),
        outputs: IndexMap::new(),
    }
}

fn step_statuses(steps: &[(&str, StepStatus)]) -> IndexMap<String, StepStatus> {
    steps.iter().map(|(step, status)| ((*step).to_owned(), *status)).collect()
}

fn health() -> HealthResponse {
    HealthResponse {
        version: "0.1.0".into(),
        database_status: "connected".into(),
        timestamp: moment(0),
        fsync: "on".into(),
        synchronous_commit: "on".into(),
    }
}

fn list() -> ListRequest {
    ListRequest {
        status: Some(Status::Paused),
        template_name: Some(TEMPLATE.into()),
        limit: Some(50),
        offset: Some(100),
        after: Some(ListCursor {
            started_at: moment(0),
            workflow_id: "hotfix-5d20c1e7".into(),
            left: Some(50),
        }),
    }
}

fn list_response() -> ListResponse {
    let summary = WorkflowSummary {
        workflow_id: workflow_id(),
        status: Status::Paused,
        current_step: Some("approval_gate".into()),
        started_at: moment(0),
        template_name: TEMPLATE.into(),
        parent_workflow_id: None,
        completed_at: None,
        updated_at: moment(9),
        failed_step: None,
        error_message: None,
    };
    ListResponse { workflows: vec![summary], next: None }
}

fn resume() -> ResumeRequest {
    ResumeRequest {
        workflow_id: ID.into(),
        approval_decision: "approved".into(),
        ..ResumeRequest::default()
    }
}

fn resume_with_reasons() -> ResumeRequest {
    ResumeRequest {
        approver: Some("alice@example.com".into()),
        approver_role: Some("tech_lead".into()),
        comment: Some("looks right".into()),
        justification: Some("planned work".into()),
        approval_id: Some("apr-1".into()),
        request_id: Some("click-1".into()),
        ..resume()
    }
}

fn resume_response() -> ResumeResponse {
    ResumeResponse {
        workflow_id: workflow_id(),
        status: Status::Running,
        current_step: Some("deploy_production".into()),
        approval_decision: "approved".into(),
        approvals_received: 1,
        approvals_required: 1,
        step_statuses: step_statuses(&[
            ("approval_gate", StepStatus::Completed),
            ("deploy_production", StepStatus::Running),
        ]),
        completed_at: None,
    }
}

fn cancel() -> CancelRequest {
    CancelRequest {
        workflow_id: ID.into(),
        reason: "Emergency fix deployed".into(),
        cancelled_by: "ops@example.com".into(),
        force: false,
        request_id: Some("click-2".into()),
    }
}

fn cancel_response() -> CancelResponse {
    CancelResponse {
        workflow_id: workflow_id(),
        status: Status::Cancelled,
        reason: "Emergency fix deployed".into(),
        cancelled_by: "ops@example.com".into(),
        on_cancel: None,
        cleanup: CancelCleanup {
            locks_released: 1,
            linear_issues_closed: 0,
            agents_notified: 1,
            child_workflows_cancelled: 0,
            approvals_cancelled: 0,
            errors: Vec::new(),
        },
    }
}

fn retry() -> RetryRequest {
    RetryRequest {
        workflow_id: ID.into(),
        step_id: "deploy_production".into(),
        max_retries: 3,
        requested_by: "ops@example.com".into(),
        request_id: Some("click-3".into()),
    }
}

fn retry_response() -> RetryResponse {
    RetryResponse {
        workflow_id: workflow_id(),
        step_id: "deploy_production".into(),
        retry_attempt: 2,
        max_retries: 3,
        backoff_delay: 4.0,
        next_retry_at: moment(4),
        status: "retrying".into(),
        message: "step 'deploy_production' runs again at 2031-03-04T05:06:04.120Z".into(),
    }
}

fn paused() -> StatusResponse {
    StatusResponse {
        run: ExecuteResponse {
            status: Status::Paused,
            current_step: Some("approval_gate".into()),
            outputs: IndexMap::from([("code_review".to_owned(), json!({"quality_score": 92}))]),
            ..execute_response()
        },
        template_name: TEMPLATE.into(),
        error_message: None,
        failed_step: None,
        failure_reason: None,
        rejection_reason: None,
        cancellation_reason: None,
        suspended: None,
        deadline_at: None,
        cancelled_by: None,
        cancelled_at: None,
        pending_approval: Some(pending_approval()),
        waiting_for_lock: None,
        waiting_until: None,
        locks: vec!["deployment:production".into()],
        parent_workflow_id: None,
        child_workflows: vec![ChildWorkflow {
            child_workflow_id: WorkflowId::parse("hotfix-0123456789abcdef").unwrap(),
            parent_step_id: Some("deploy_production".into()),
            template_name: "hotfix.workflow.yaml".into(),
            status: Status::Running,
            started_at: moment(3),
            completed_at: None,
        }],
        updated_at: moment(9),
    }
}

fn pending_approval() -> PendingApproval {
    PendingApproval {
        approval_id: "apr-1".into(),
        step_id: "approval_gate".into(),
        risk_level: "medium".into(),
        approver_role: Some("tech_lead".into()),
        reasoning: Some("eight files changed".into()),
        details: object(json!({"deployment_target": "production"})),
        required: 1,
        received: 0,
        approvers: Vec::new(),
        issue: None,
        created_at: moment(8),
        expires_at: Some(moment(86_408)),
    }
}

fn failed() -> StatusResponse {
    StatusResponse {
        run: ExecuteResponse {
            status: Status::Failed,
            completed_at: Some(moment(12)),
            step_statuses: step_statuses(&[
                ("code_review", StepStatus::Failed),
                ("run_tests", StepStatus::Skipped),
            ]),
            ..execute_response()
        },
        error_message: Some("the model did not answer".into()),
        failed_step: Some("code_review".into()),
        failure_reason: Some("gate_error".into()),
        pending_approval: None,
        locks: Vec::new(),
        ..paused()
    }
}

fn state_response() -> StateResponse {
    let approval: Value = json!({"approval_id": "apr-1", "status": "pending"});
    StateResponse {
        status: paused(),
        context: object(json!({"pr_number": 1, "branch": "test"})),
        decisions: IndexMap::from([("code_review".to_owned(), json!({"decision": "proceed"}))]),
        approvals: vec![approval],
        event_count: 6,
        template_sha256: "ab".repeat(32),
        step_agents: IndexMap::from([("code_review".to_owned(), "code-review".to_owned())]),
    }
}

fn templates() -> TemplatesResponse {
    let template = TemplateSummary {
        template_name: TEMPLATE.into(),
        name: "Pull Request Deployment".into(),
        description: "From review to production".into(),
        version: "1.0".into(),
        required_context: vec!["pr_number".into(), "branch".into()],
        optional_context: vec!["repo_url".into()],
        steps_count: 6,
        agents_involved: vec!["code-review".into(), "cicd".into()],
        estimated_duration_minutes: 15,
        risk_level: "high".into(),
        valid: true,
        findings: vec!["pr-deployment.workflow.yaml:4:1: unknown key 'owner'".into()],
    };
    TemplatesResponse { templates: vec![template], count: 1 }
}

fn validate() -> ValidateRequest {
    ValidateRequest { template_name: "mine.workflow.yaml".into(), text: "name: mine\n".into() }
}

fn validate_response() -> ValidateResponse {
    ValidateResponse { valid: false, findings: vec!["mine.workflow.yaml:1:1: no steps".into()] }
}
