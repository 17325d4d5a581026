//! `dead_letters` and `dead_letter_acts`: messages that could not be processed, and what people did
//! about them.

use sluice_proto::operations::{
    DeadLetterAct, DeadLetterStatus, DeadLetterSummary, DeadLetterView, DeadLettersRequest,
};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Moment, StoreError};

/// Bytes of a payload that are shown.
const SHOWN_BYTES: i32 = 64 * 1024;
/// Letters in one page at most, and when nobody says.
const MAX_PAGE: u32 = 1_000;
const PAGE: u32 = 100;

/// A letter as it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewLetter<'a> {
    /// `command`, `step` or `attempt`.
    pub(crate) source: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) payload: &'a [u8],
    /// Names the message: told twice, it is kept once.
    pub(crate) message_key: Option<&'a str>,
    pub(crate) workflow_id: Option<&'a str>,
    pub(crate) delivered_count: Option<i64>,
}

/// Keeps a letter; false when it was kept before.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    letter: &NewLetter<'_>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into dead_letters (source, subject, reason, payload, message_key, workflow_id,
                                   delivered_count)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
    )
    .bind(letter.source)
    .bind(letter.subject)
    .bind(letter.reason)
    .bind(letter.payload)
    .bind(letter.message_key)
    .bind(letter.workflow_id)
    .bind(letter.delivered_count)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A page of letters, newest first, and how many wait in all.
pub(crate) async fn list(
    connection: &mut PgConnection,
    request: &DeadLettersRequest,
) -> Result<(Vec<DeadLetterSummary>, u64), StoreError> {
    let rows = sqlx::query(
        "select dead_letter_id, source, subject, reason, status, length(payload)::bigint as bytes,
                workflow_id, delivered_count, created_at
           from dead_letters
          where status = $1 and ($2::bigint is null or dead_letter_id < $2)
          order by dead_letter_id desc limit $3",
    )
    .bind(word(request.status.unwrap_or(DeadLetterStatus::Waiting)))
    .bind(request.before.map(|id| i64::try_from(id).unwrap_or(i64::MAX)))
    .bind(i64::from(request.limit.unwrap_or(PAGE).min(MAX_PAGE)))
    .fetch_all(&mut *connection)
    .await?;
    let waiting: i64 =
        sqlx::query_scalar("select count(*) from dead_letters where status = 'waiting'")
            .fetch_one(connection)
            .await?;
    let letters = rows.iter().map(summary).collect::<Result<_, _>>()?;
    Ok((letters, u64::try_from(waiting).unwrap_or_default()))
}

/// A letter with the beginning of its payload and its history.
pub(crate) async fn find(
    connection: &mut PgConnection,
    id: i64,
) -> Result<Option<DeadLetterView>, StoreError> {
    let row = sqlx::query(
        "select dead_letter_id, source, subject, reason, status, length(payload)::bigint as bytes,
                workflow_id, delivered_count, created_at, substring(payload for $2) as shown
           from dead_letters where dead_letter_id = $1",
    )
    .bind(id)
    .bind(SHOWN_BYTES)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let summary = summary(&row)?;
    let shown: Vec<u8> = row.try_get("shown")?;
    let acts = sqlx::query(
        "select act, actor, comment, acted_at from dead_letter_acts
          where dead_letter_id = $1 order by act_id limit 100",
    )
    .bind(id)
    .fetch_all(connection)
    .await?;
    Ok(Some(DeadLetterView {
        payload_is_cut: summary.payload_bytes > shown.len() as u64,
        payload: String::from_utf8_lossy(&shown).into_owned(),
        acts: acts.iter().map(act).collect::<Result<_, _>>()?,
        summary,
    }))
}

/// What is sent again: status, subject and the whole payload, held for this transaction.
pub(crate) async fn take(
    connection: &mut PgConnection,
    id: i64,
) -> Result<Option<(DeadLetterStatus, String, Vec<u8>)>, StoreError> {
    let row = sqlx::query(
        "select status, subject, payload from dead_letters where dead_letter_id = $1 for update",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((status(&row)?, row.try_get("subject")?, row.try_get("payload")?)))
}

/// Records what somebody did about a letter that is held.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    id: i64,
    outcome: DeadLetterStatus,
    actor: &str,
    comment: Option<&str>,
    at: Moment,
) -> Result<(), StoreError> {
    sqlx::query("update dead_letters set status = $2 where dead_letter_id = $1")
        .bind(id)
        .bind(word(outcome))
        .execute(&mut *connection)
        .await?;
    let act = if outcome == DeadLetterStatus::Dropped { "drop" } else { "redrive" };
    sqlx::query(
        "insert into dead_letter_acts (dead_letter_id, act, actor, comment, acted_at)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(id)
    .bind(act)
    .bind(actor)
    .bind(comment)
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets letters that were looked after, 90 days after they were kept.
pub(crate) async fn delete_old(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query(
        "delete from dead_letters where status <> 'waiting' and created_at < now() - interval '90 days'",
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn word(status: DeadLetterStatus) -> &'static str {
    match status {
        DeadLetterStatus::Waiting => "waiting",
        DeadLetterStatus::Redriven => "redriven",
        DeadLetterStatus::Dropped => "dropped",
    }
}

fn status(row: &PgRow) -> Result<DeadLetterStatus, StoreError> {
    match row.try_get::<String, _>("status")?.as_str() {
        "waiting" => Ok(DeadLetterStatus::Waiting),
        "redriven" => Ok(DeadLetterStatus::Redriven),
        "dropped" => Ok(DeadLetterStatus::Dropped),
        other => Err(StoreError::Unreadable {
            what: "dead letter".to_owned(),
            cause: format!("status '{other}'"),
        }),
    }
}

fn summary(row: &PgRow) -> Result<DeadLetterSummary, StoreError> {
    let unsigned = |n: i64| u64::try_from(n).unwrap_or_default();
    Ok(DeadLetterSummary {
        dead_letter_id: unsigned(row.try_get("dead_letter_id")?),
        source: row.try_get("source")?,
        subject: row.try_get("subject")?,
        reason: row.try_get("reason")?,
        status: status(row)?,
        payload_bytes: unsigned(row.try_get("bytes")?),
        workflow_id: row.try_get("workflow_id")?,
        delivered_count: row.try_get::<Option<i64>, _>("delivered_count")?.map(unsigned),
        created_at: row.try_get::<Moment, _>("created_at")?.into(),
    })
}

fn act(row: &PgRow) -> Result<DeadLetterAct, StoreError> {
    Ok(DeadLetterAct {
        act: row.try_get("act")?,
        by: row.try_get("actor")?,
        comment: row.try_get("comment")?,
        at: row.try_get::<Moment, _>("acted_at")?.into(),
    })
}
