//! Lists of runs. A statement a kind of list: one for all of them would leave it to chance which index is
//! used, and with a million runs behind it that matters.

use sluice_proto::api::{ListRequest, WorkflowSummary};
use sluice_proto::event::Status;
use sluice_proto::ids::WorkflowId;
use sluice_proto::timestamp::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::macros::datetime;

use super::{Moment, StoreError};

/// Finished runs listed when the caller sets no limit.
const DEFAULT_FINISHED: u32 = 1_000;
/// Most runs in one answer.
const MAX_LISTED: u32 = 10_000;
/// Behind every run, so that a list from its beginning is a page like any other.
const END_OF_TIME: Moment = datetime!(9999-12-31 23:59:59 UTC);

/// Runs that are shown, newest first: every open one and the newest finished ones, or a page.
pub(crate) async fn list(
    connection: &mut PgConnection,
    request: &ListRequest,
) -> Result<Vec<WorkflowSummary>, StoreError> {
    let after = request.after.as_ref();
    let (limit, offset) = match after {
        Some(after) => (after.left, after.left.map(|_| 0)),
        None => (request.limit, request.offset),
    };
    let is_page = limit.is_some() || offset.is_some();
    let which = Which::of(request.status);
    let is_open = matches!(which, Which::Open);
    let mut query = sqlx::query(statement(which, request.template_name.is_some(), is_page))
        .bind(after.map_or(END_OF_TIME, |after| after.started_at.into()))
        .bind(after.map_or("", |after| &after.workflow_id));
    query = match (is_page, request.status) {
        (true, _) => query.bind(count(limit)).bind(i64::from(offset.unwrap_or(0))),
        (false, None) => query.bind(i64::from(DEFAULT_FINISHED)).bind(i64::from(MAX_LISTED)),
        (false, Some(_)) if is_open => query.bind(i64::from(MAX_LISTED)),
        (false, Some(_)) => query.bind(i64::from(DEFAULT_FINISHED)),
    };
    if let Some(status) = request.status {
        query = query.bind(status.as_str());
    }
    if let Some(template) = &request.template_name {
        query = query.bind(template);
    }
    query.fetch_all(connection).await?.iter().map(summary).collect()
}

/// How many a request lists at most; none when it asks for every open run.
pub(crate) fn limit(request: &ListRequest) -> Option<u32> {
    match &request.after {
        Some(after) => after.left.map(|left| effective(Some(left))),
        None if request.limit.is_none() && request.offset.is_none() => None,
        None => Some(effective(request.limit)),
    }
}

fn effective(limit: Option<u32>) -> u32 {
    limit.unwrap_or(DEFAULT_FINISHED).min(MAX_LISTED)
}

fn count(limit: Option<u32>) -> i64 {
    i64::from(effective(limit))
}

/// Which runs a status selects.
#[derive(Clone, Copy, Debug)]
enum Which {
    All,
    Open,
    Ended,
}

impl Which {
    fn of(status: Option<Status>) -> Self {
        match status {
            None => Self::All,
            Some(status) if status.is_terminal() => Self::Ended,
            Some(_) => Self::Open,
        }
    }
}

macro_rules! runs {
    ($filters:literal) => {
        concat!(
            "select workflow_id, status, current_step, started_at, template_name, completed_at, updated_at,
                    failed_step, error_message, parent_workflow_id
               from runs
              where hidden_at is null ",
            $filters
        )
    };
}

/// From `($1, $2)` on, `$3` of them but for the first `$4`.
macro_rules! page {
    ($filters:literal) => {
        concat!(
            runs!("and (started_at, workflow_id) < ($1, $2) "),
            $filters,
            " order by started_at desc, workflow_id desc limit $3 offset $4"
        )
    };
}

/// Of the newest `$3`, those from `($1, $2)` on.
macro_rules! newest {
    ($filters:literal) => {
        concat!(
            "select * from (",
            runs!($filters),
            " order by started_at desc, workflow_id desc limit $3) r
              where (started_at, workflow_id) < ($1, $2) order by started_at desc, workflow_id desc"
        )
    };
}

/// Of `$4` open ones and the newest `$3` others, those from `($1, $2)` on.
macro_rules! whole {
    ($open:literal, $ended:literal) => {
        concat!(
            "select * from ((",
            runs!($open),
            " limit $4) union all (",
            runs!($ended),
            " order by started_at desc, workflow_id desc limit $3)) r
              where (started_at, workflow_id) < ($1, $2) order by started_at desc, workflow_id desc"
        )
    };
}

fn statement(which: Which, of_template: bool, is_page: bool) -> &'static str {
    match (which, of_template, is_page) {
        (Which::All, false, true) => page!(""),
        (Which::All, true, true) => page!("and template_name = $5"),
        (Which::Open, false, true) => page!("and completed_at is null and status = $5"),
        (Which::Open, true, true) => {
            page!("and completed_at is null and status = $5 and template_name = $6")
        }
        (Which::Ended, false, true) => page!("and outcome = $5"),
        (Which::Ended, true, true) => page!("and outcome = $5 and template_name = $6"),
        (Which::All, false, false) => {
            whole!("and completed_at is null", "and completed_at is not null")
        }
        (Which::All, true, false) => whole!(
            "and completed_at is null and template_name = $5",
            "and completed_at is not null and template_name = $5"
        ),
        (Which::Open, false, false) => newest!("and completed_at is null and status = $4"),
        (Which::Open, true, false) => {
            newest!("and completed_at is null and status = $4 and template_name = $5")
        }
        (Which::Ended, false, false) => newest!("and outcome = $4"),
        (Which::Ended, true, false) => newest!("and outcome = $4 and template_name = $5"),
    }
}

fn summary(row: &PgRow) -> Result<WorkflowSummary, StoreError> {
    let unreadable = |cause: String| StoreError::Unreadable { what: "run".to_owned(), cause };
    let id: String = row.try_get(0)?;
    let status: String = row.try_get(1)?;
    let parent: Option<String> = row.try_get(9)?;
    Ok(WorkflowSummary {
        workflow_id: WorkflowId::parse(&id).map_err(|error| unreadable(error.to_string()))?,
        status: serde_json::from_value(status.into()).map_err(|e| unreadable(e.to_string()))?,
        current_step: row.try_get(2)?,
        started_at: Timestamp::from(row.try_get::<Moment, _>(3)?),
        template_name: row.try_get(4)?,
        completed_at: row.try_get::<Option<Moment>, _>(5)?.map(Timestamp::from),
        updated_at: Timestamp::from(row.try_get::<Moment, _>(6)?),
        failed_step: row.try_get(7)?,
        error_message: row.try_get(8)?,
        parent_workflow_id: parent.and_then(|id| WorkflowId::parse(&id).ok()),
    })
}
