//! `workflow.resume`: decides what a paused run waits for.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::Decision;
use sluice_proto::api::{ResumeRequest, verb};
use sluice_proto::error::{ApiError, ErrorCode};

use super::execute::request_name;
use super::{Answer, decode, submit, text, workflow_id};
use crate::coordinator::Shared;
use crate::intake::Work;

pub(super) async fn handle(
    shared: &Arc<Shared>,
    body: &Bytes,
    request_id: Option<String>,
) -> Answer {
    let request: ResumeRequest = decode(body)?;
    let workflow_id = workflow_id(&request.workflow_id)?;
    let approved = match request.approval_decision.as_str() {
        "approved" => true,
        "rejected" => false,
        other => {
            let shown: String = other.chars().take(40).collect();
            return Err(ApiError::new(
                ErrorCode::InvalidDecision,
                format!(
                    "'{shown}' is no decision: approval_decision must be 'approved' or 'rejected'"
                ),
            ));
        }
    };
    let decision = Decision {
        approved,
        approval_id: text("approval_id", request.approval_id)?,
        approver: text("approver", request.approver)?,
        approver_role: text("approver_role", request.approver_role)?,
        comment: text("comment", request.comment)?,
        justification: text("justification", request.justification)?,
    };
    let request = request_name(request.request_id.or(request_id), verb::WORKFLOW_RESUME)?;
    submit(shared, workflow_id, Work::Decide { decision, request }).await
}
