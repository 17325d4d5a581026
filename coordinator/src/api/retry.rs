//! `workflow.retry`: has a failed run go on from one of its steps.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{Input, Retry};
use sluice_proto::api::{RetryRequest, verb};

use super::execute::request_name;
use super::{Answer, decode, submit, text, workflow_id};
use crate::coordinator::Shared;
use crate::intake::Work;

pub(super) async fn handle(
    shared: &Arc<Shared>,
    body: &Bytes,
    request_id: Option<String>,
) -> Answer {
    let request: RetryRequest = decode(body)?;
    let workflow_id = workflow_id(&request.workflow_id)?;
    let retry = Retry {
        step: text("step_id", Some(request.step_id))?.unwrap_or_default(),
        max_retries: request.max_retries,
        requested_by: text("requested_by", Some(request.requested_by))?
            .unwrap_or_else(|| "unknown".to_owned()),
    };
    let request = request_name(request.request_id.or(request_id), verb::WORKFLOW_RETRY)?;
    submit(shared, workflow_id, Work::Control { input: Input::Retry(retry), request }).await
}
