//! `workflow.pause` and `workflow.unpause`: an operator holds a run up, or lets it go on.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{Input, Suspend};
use sluice_proto::api::{PauseRequest, UnpauseRequest, verb};

use super::execute::request_name;
use super::{Answer, decode, submit, text, workflow_id};
use crate::coordinator::Shared;
use crate::intake::Work;

pub(super) async fn pause(
    shared: &Arc<Shared>,
    body: &Bytes,
    request_id: Option<String>,
) -> Answer {
    let request: PauseRequest = decode(body)?;
    let workflow_id = workflow_id(&request.workflow_id)?;
    let suspend = Suspend {
        reason: text("reason", Some(request.reason))?.unwrap_or_default(),
        by: text("paused_by", Some(request.paused_by))?.unwrap_or_else(|| "unknown".to_owned()),
    };
    let request = request_name(request.request_id.or(request_id), verb::WORKFLOW_PAUSE)?;
    submit(shared, workflow_id, Work::Control { input: Input::Suspend(suspend), request }).await
}

pub(super) async fn unpause(
    shared: &Arc<Shared>,
    body: &Bytes,
    request_id: Option<String>,
) -> Answer {
    let request: UnpauseRequest = decode(body)?;
    let workflow_id = workflow_id(&request.workflow_id)?;
    let by =
        text("unpaused_by", Some(request.unpaused_by))?.unwrap_or_else(|| "unknown".to_owned());
    let request = request_name(request.request_id.or(request_id), verb::WORKFLOW_UNPAUSE)?;
    submit(shared, workflow_id, Work::Control { input: Input::Continue { by }, request }).await
}
