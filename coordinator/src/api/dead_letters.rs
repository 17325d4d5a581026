//! `dead_letter.list`, `show`, `redrive` and `drop`.

use std::sync::Arc;

use bytes::Bytes;
use sluice_proto::error::{ApiError, ErrorCode};
use sluice_proto::operations::{
    DeadLetterActRequest, DeadLetterRequest, DeadLetterStatus, DeadLettersRequest,
    DeadLettersResponse,
};
use sqlx::Acquire;

use super::{Answer, decode, encode, text};
use crate::coordinator::{Shared, now};
use crate::intake::api_error;
use crate::store::{StoreError, begin_snapshot, dead_letters};

pub(super) async fn list(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: DeadLettersRequest = decode(body)?;
    let listed = async {
        // A letter that comes meanwhile is in both or in neither.
        let mut snapshot = begin_snapshot(&shared.pool).await?;
        dead_letters::list(&mut snapshot, &request).await
    };
    let (letters, waiting) = listed.await.map_err(|error: StoreError| api_error(&error))?;
    encode(&DeadLettersResponse { count: letters.len(), dead_letters: letters, waiting })
}

pub(super) async fn show(shared: &Arc<Shared>, body: &Bytes) -> Answer {
    let request: DeadLetterRequest = decode(body)?;
    view(shared, request.dead_letter_id).await
}

async fn view(shared: &Shared, id: u64) -> Answer {
    let found = async {
        let mut connection = shared.pool.acquire().await?;
        dead_letters::find(&mut connection, bigint(id)).await
    };
    let found = found.await.map_err(|error: StoreError| api_error(&error))?;
    encode(&found.ok_or_else(|| unknown(id))?)
}

/// Ends the waiting of a letter: by sending it again, or by deciding that nothing more comes of it.
pub(super) async fn act(shared: &Arc<Shared>, body: &Bytes, outcome: DeadLetterStatus) -> Answer {
    let request: DeadLetterActRequest = decode(body)?;
    let id = request.dead_letter_id;
    let by = text("by", request.by)?.unwrap_or_else(|| "unknown".to_owned());
    let comment = text("comment", request.comment)?;
    settle(shared, id, outcome, &by, comment.as_deref()).await?;
    tracing::info!(dead_letter.id = id, ?outcome, by, "a dead letter was looked after");
    view(shared, id).await
}

async fn settle(
    shared: &Shared,
    id: u64,
    outcome: DeadLetterStatus,
    by: &str,
    comment: Option<&str>,
) -> Result<(), ApiError> {
    let away = |error: StoreError| api_error(&error);
    let mut connection = shared.pool.acquire().await.map_err(|error| away(error.into()))?;
    let mut transaction = connection.begin().await.map_err(|error| away(error.into()))?;
    let found = dead_letters::take(&mut transaction, bigint(id)).await.map_err(away)?;
    let (status, subject, payload) = found.ok_or_else(|| unknown(id))?;
    if status != DeadLetterStatus::Waiting {
        let detail =
            format!("dead letter {id} was looked after already; `sluice dead-letters show {id}`");
        return Err(ApiError::new(ErrorCode::AlreadyDecided, detail));
    }
    if outcome == DeadLetterStatus::Redriven {
        if payload.is_empty() && shared.bus.subjects().command_verb(&subject).is_none() {
            let detail = format!("dead letter {id} has no payload to send again; drop it");
            return Err(ApiError::new(ErrorCode::BadRequest, detail));
        }
        // Sent before the commit: should the commit fail, it may be sent again under the same name.
        let sent = shared.bus.redrive(&subject, payload.into(), &format!("redrive:{id}")).await;
        sent.map_err(|error| {
            ApiError::new(
                ErrorCode::NatsUnavailable,
                format!("it could not be sent again: {error}"),
            )
        })?;
    }
    dead_letters::settle(&mut transaction, bigint(id), outcome, by, comment, now().into())
        .await
        .map_err(away)?;
    transaction.commit().await.map_err(|error| away(error.into()))
}

fn bigint(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn unknown(id: u64) -> ApiError {
    let detail = format!("no dead letter {id}; `sluice dead-letters` shows those there are");
    ApiError::new(ErrorCode::DeadLetterNotFound, detail)
}
