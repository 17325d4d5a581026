//! `workflow.cancel`: ends a run and cleans up after it.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{Cancel, Input};
use sluice_proto::api::{CancelRequest, verb};

use super::execute::request_name;
use super::{Answer, decode, submit, text, workflow_id};
use crate::coordinator::Shared;
use crate::intake::Work;

pub(super) async fn handle(
    shared: &Arc<Shared>,
    body: &Bytes,
    request_id: Option<String>,
) -> Answer {
    let request: CancelRequest = decode(body)?;
    let workflow_id = workflow_id(&request.workflow_id)?;
    let cancel = Cancel {
        reason: text("reason", Some(request.reason))?.unwrap_or_default(),
        cancelled_by: text("cancelled_by", Some(request.cancelled_by))?
            .unwrap_or_else(|| "unknown".to_owned()),
        force: request.force,
    };
    let request = request_name(request.request_id.or(request_id), verb::WORKFLOW_CANCEL)?;
    submit(shared, workflow_id, Work::Control { input: Input::Cancel(cancel), request }).await
}
