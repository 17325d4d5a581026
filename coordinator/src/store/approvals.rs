//! `approvals`: what people were asked to decide.

use sqlx::PgConnection;

use super::runs::column;
use super::{Moment, StoreError};

/// One approval as it is inserted.
#[derive(Clone, Debug)]
pub(crate) struct ApprovalRow {
    pub(crate) approval_id: String,
    pub(crate) workflow_id: String,
    pub(crate) step_id: String,
    pub(crate) reason: String,
    pub(crate) risk_level: String,
    pub(crate) approver_role: Option<String>,
    pub(crate) required: i32,
    pub(crate) created_at: Moment,
}

pub(crate) async fn insert(
    connection: &mut PgConnection,
    rows: &[ApprovalRow],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into approvals (approval_id, workflow_id, step_id, status, reason, risk_level,
                                approver_role, required, created_at)
         select u.id, u.workflow_id, u.step_id, 'pending', u.reason, u.risk_level, u.role, u.required,
                u.created_at
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[],
                       $8::timestamptz[])
                as u (id, workflow_id, step_id, reason, risk_level, role, required, created_at)
         on conflict (approval_id) do nothing",
    )
    .bind(column(rows, |r| r.approval_id.clone()))
    .bind(column(rows, |r| r.workflow_id.clone()))
    .bind(column(rows, |r| r.step_id.clone()))
    .bind(column(rows, |r| r.reason.clone()))
    .bind(column(rows, |r| r.risk_level.clone()))
    .bind(column(rows, |r| r.approver_role.clone()))
    .bind(column(rows, |r| r.required))
    .bind(column(rows, |r| r.created_at))
    .execute(connection)
    .await?;
    Ok(())
}

/// Closes approvals: `(approval id, status)`.
pub(crate) async fn close(
    connection: &mut PgConnection,
    rows: &[(String, String)],
    at: Moment,
) -> Result<(), StoreError> {
    sqlx::query(
        "update approvals a set status = u.status, decided_at = $3
           from unnest($1::text[], $2::text[]) as u (id, status)
          where a.approval_id = u.id",
    )
    .bind(column(rows, |r| r.0.clone()))
    .bind(column(rows, |r| r.1.clone()))
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}
