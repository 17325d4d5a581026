//! `workflow.execute`: accepts a run. It goes on whether or not the caller waits.

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::{BASE32_NOPAD, Encoding, Specification};
use serde_json::Value;
use sluice_engine::{MAX_CHAIN, template};
use sluice_proto::api::{ExecuteRequest, verb};
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::ids::WorkflowId;
use sluice_proto::json;

use super::{Answer, decode, submit};
use crate::coordinator::Shared;
use crate::intake::{Request, Work, api_error};
use crate::store::{StoreError, runs};

pub(super) async fn handle(
    shared: &Arc<Shared>,
    body: &Bytes,
    request_id: Option<String>,
) -> Answer {
    let request: ExecuteRequest = decode(body)?;
    let mut context = Value::Object(request.context);
    json::normalise(&mut context).map_err(|error| {
        ApiError::field("context", error.to_string().replacen('$', "context", 1))
    })?;
    let Value::Object(context) = context else {
        return Err(ApiError::field("context", "must be an object"));
    };
    let template = shared.library.find(&request.template_name)?;
    let workflow_id = match &request.workflow_id {
        Some(text) => WorkflowId::parse(text)
            .map_err(|error| ApiError::field("workflow_id", error.to_string()))?,
        None => new_id(&template.template.file),
    };
    let parent = match &request.parent_workflow_id {
        Some(text) => Some(parent(shared, text).await?),
        None => None,
    };
    let request = request_name(request.request_id.or(request_id), verb::WORKFLOW_EXECUTE)?;
    submit(shared, workflow_id, Work::Start { template, context, parent, request }).await
}

/// The run of that id, if another can be below it. Who is above whom never changes.
async fn parent(shared: &Shared, text: &str) -> Result<WorkflowId, ApiError> {
    let id = WorkflowId::parse(text)
        .map_err(|error| ApiError::field("parent_workflow_id", error.to_string()))?;
    let line = async {
        let mut connection = shared.pool.acquire().await?;
        runs::lineage(&mut connection, id.as_str(), MAX_CHAIN).await
    };
    let line = line.await.map_err(|error: StoreError| api_error(&error))?;
    match line.len() {
        0 => Err(ApiError::workflow_not_found(id.as_str())),
        MAX_CHAIN => {
            let detail =
                format!("parent_workflow_id: {MAX_CHAIN} runs are above each other already");
            Err(ApiError::new(ErrorCode::NotAParent, detail))
        }
        _ => Ok(id),
    }
}

/// Longest name of a request, bytes.
const MAX_REQUEST_ID_BYTES: usize = 200;

pub(super) fn request_name(
    id: Option<String>,
    verb: &'static str,
) -> Result<Option<Request>, ApiError> {
    let Some(id) = id else { return Ok(None) };
    if id.is_empty() || id.len() > MAX_REQUEST_ID_BYTES || id.contains('\0') {
        let message = format!("must have 1 to {MAX_REQUEST_ID_BYTES} bytes and no NUL");
        return Err(ApiError {
            code: ErrorCode::InvalidBody,
            ..ApiError::field("request_id", message)
        });
    }
    Ok(Some(Request { id, verb }))
}

/// `<slug>-<16 base32 digits>`: 48 bits of time, so that ids of one template sort by age, and 32 of
/// chance.
fn new_id(file: &str) -> WorkflowId {
    let uuid = uuid::Uuid::now_v7();
    let bytes = uuid.as_bytes();
    let suffix = lower_base32().encode(&[&bytes[..6], &bytes[12..]].concat());
    let slug: String = template::slug(file)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .take(40)
        .collect();
    let slug = if slug.is_empty() { "run".to_owned() } else { slug };
    WorkflowId::parse(&format!("{slug}-{suffix}"))
        .unwrap_or_else(|_| unreachable!("a slug of 40 and a suffix of 16 token characters"))
}

fn lower_base32() -> Encoding {
    let mut specification: Specification = BASE32_NOPAD.specification();
    specification.symbols = specification.symbols.to_ascii_lowercase();
    specification.encoding().unwrap_or(BASE32_NOPAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_template_and_sort_by_age() {
        let (a, b) = (new_id("infrastructure.workflow.yaml"), new_id("über x.workflow.yaml"));
        assert!(a.as_str().starts_with("infra-"), "{a}");
        assert_eq!(a.as_str().len(), "infra-".len() + 16);
        assert!(b.as_str().starts_with("-ber-x-"), "{b}");
    }
}
