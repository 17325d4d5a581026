//! `workflow.list`: runs, newest first.

use std::sync::Arc;

use bytes::Bytes;
use sluice_proto::api::{ListRequest, ListResponse};

use super::{Answer, decode, encode};
use crate::coordinator::Shared;
use crate::intake::api_error;
use crate::store::{StoreError, runs};

pub(super) async fn handle(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: ListRequest = decode(body)?;
    let listed = async {
        let mut connection = shared.pool.acquire().await?;
        runs::list(&mut connection, &request).await
    };
    let workflows = listed.await.map_err(|error: StoreError| api_error(&error))?;
    encode(&ListResponse { workflows })
}
