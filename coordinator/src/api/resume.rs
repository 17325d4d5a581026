//! `workflow.resume`: decides what a paused run waits for.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::Decision;
use sluice_proto::api::{ResumeRequest, verb};
use sluice_proto::error::{ApiError, ErrorCode};

use super::execute::request_name;
use super::{Answer, decode, submit, workflow_id};
use crate::coordinator::Shared;
use crate::intake::Work;

/// Longest text a person may give, characters.
const MAX_TEXT_CHARS: usize = 4_000;

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
        approver: text("approver", request.approver)?,
        approver_role: text("approver_role", request.approver_role)?,
        comment: text("comment", request.comment)?,
        justification: text("justification", request.justification)?,
    };
    let request = request_name(request.request_id.or(request_id), verb::WORKFLOW_RESUME)?;
    submit(shared, workflow_id, Work::Decide { decision, request }).await
}

/// Empty means not given; what cannot be recorded is refused.
fn text(field: &str, value: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(value) = value.filter(|value| !value.trim().is_empty()) else { return Ok(None) };
    if value.contains('\0') || value.chars().count() > MAX_TEXT_CHARS {
        let message = format!("must have at most {MAX_TEXT_CHARS} characters and no NUL");
        return Err(ApiError::field(field, message));
    }
    Ok(Some(value))
}
