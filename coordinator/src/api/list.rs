//! `workflow.list`: runs, newest first.

use std::sync::Arc;

use bytes::Bytes;
use sluice_proto::api::{ListCursor, ListRequest, ListResponse, WorkflowSummary};

use super::{Answer, decode, encode};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::store::{StoreError, listing};

pub(super) async fn handle(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: ListRequest = decode(body)?;
    let listed = async {
        let mut connection = shared.pool.acquire().await?;
        listing::list(&mut connection, &request).await
    };
    let workflows = listed.await.map_err(|error: StoreError| api_error(&error))?;
    encode(&fitting(workflows, listing::limit(&request), shared.bus.max_payload()))
}

/// Room for the cursor and the frame around the runs, bytes.
const FRAME_BYTES: usize = 512;

/// As many runs as fit into `max_bytes`, and where to go on.
fn fitting(
    mut workflows: Vec<WorkflowSummary>,
    limit: Option<u32>,
    max_bytes: usize,
) -> ListResponse {
    let mut bytes = FRAME_BYTES;
    let fits = workflows.iter().take_while(|run| {
        // A comma follows each.
        bytes += serde_json::to_vec(run).map_or(0, |text| text.len()) + 1;
        bytes <= max_bytes
    });
    // One that alone does not fit is refused as a whole answer that does not.
    let count = fits.count().max(1);
    if count >= workflows.len() {
        return ListResponse { workflows, next: None };
    }
    workflows.truncate(count);
    let taken = u32::try_from(count).unwrap_or(u32::MAX);
    let next = workflows.last().map(|last| ListCursor {
        started_at: last.started_at,
        workflow_id: last.workflow_id.to_string(),
        left: limit.map(|limit| limit.saturating_sub(taken)),
    });
    ListResponse { workflows, next }
}
