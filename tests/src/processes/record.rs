//! What the database must say, whatever was killed.

use sqlx::PgPool;

/// Statements that must find nothing: each names a promise and gives what breaks it.
const BROKEN: [(&str, &str); 7] = [
    (
        "a run has not ended",
        "select workflow_id || ' is ' || status || ' at ' || coalesce(current_step, '-')
           from runs where completed_at is null",
    ),
    (
        "a sequence has a gap",
        "select r.workflow_id from runs r left join events e using (workflow_id)
          group by r.workflow_id, r.sequence
         having count(*) <> r.sequence or min(e.sequence) <> 1 or max(e.sequence) <> r.sequence",
    ),
    (
        "an attempt was committed twice",
        "select workflow_id || ' ' || step_id || ' ' || (data ->> 'attempt') from workflow_events
          where action in ('record_output', 'complete_step', 'fail_step') and data ? 'attempt'
          group by workflow_id, step_id, data ->> 'attempt'
         having count(*) filter (where action <> 'record_output') > 1
             or count(*) filter (where action = 'record_output') > 1",
    ),
    (
        "a step ended twice",
        "select workflow_id || ' ' || step_id from workflow_events
          where action = 'complete_step' or action = 'fail_step' and (data ->> 'final')::boolean
          group by workflow_id, step_id having count(*) > 1",
    ),
    (
        "the chain of hashes is broken",
        "select workflow_id || ' ' || sequence from (
           select workflow_id, sequence, convert_from(body, 'UTF8')::jsonb ->> 'prev_hash' as said,
                  lag(encode(sha256(body), 'hex'), 1, repeat('0', 64))
                    over (partition by workflow_id order by sequence) as found
             from events) as chain
          where said <> found",
    ),
    (
        "an ended run left something behind",
        "select 'attempt ' || workflow_id || ' ' || step_path from attempts
         union all select 'lock ' || name from locks where workflow_id is not null
         union all select 'waiter ' || name from lock_waiters
         union all select 'timer ' || workflow_id || ' ' || step_path from timers
         union all select 'approval ' || approval_id from approvals where status = 'pending'",
    ),
    (
        "a message could not be processed",
        // An attempt that was lost under killed workers too often is an outcome, and its run says so.
        "select source || ' ' || subject || ' ' || reason from dead_letters where source <> 'attempt'",
    ),
];

/// Every run has ended, and its record is whole. Templates of these tests have no loops, so a step is
/// entered once.
pub async fn assert_whole(pool: &PgPool) {
    let broken = broken(pool).await;
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The promises that the record breaks, each with what breaks it.
pub async fn broken(pool: &PgPool) -> Vec<String> {
    let mut broken = Vec::new();
    for (what, statement) in BROKEN {
        let found: Vec<(String,)> = sqlx::query_as(statement).fetch_all(pool).await.unwrap();
        if !found.is_empty() {
            broken.push(format!("{what}: {found:?}"));
        }
    }
    broken
}

/// How many attempts count more than once.
pub async fn committed_twice(pool: &PgPool) -> i64 {
    count(
        pool,
        "select count(*) from (
           select from workflow_events
            where action in ('complete_step', 'fail_step') and data ? 'attempt'
            group by workflow_id, step_id, data ->> 'attempt' having count(*) > 1) as twice",
    )
    .await
}

/// A number.
pub async fn count(pool: &PgPool, statement: &'static str) -> i64 {
    let (count,): (i64,) = sqlx::query_as(statement).fetch_one(pool).await.unwrap();
    count
}

/// How many runs have not ended.
pub async fn open_runs(pool: &PgPool) -> i64 {
    count(pool, "select count(*) from runs where completed_at is null").await
}
