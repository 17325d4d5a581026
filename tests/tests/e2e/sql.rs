//! What people may do in SQL: look, and hide runs that have ended.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run, servers};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::record_rich;

const PAGE: &str = include_str!("../../../docs/sql.md");
const DEPLOYMENT: &str = r#"
name: Deployment
version: "1.0"
description: Waits for a person where it is told to.
steps:
  - {id: work, type: agent_call, agent: helper, on_success: ask}
  - {id: ask, type: conditional, condition: "context.ask == true", on_true: approve, on_false: workflow_complete}
  - {id: approve, type: hitl_approval, risk_assessment: {type: override, risk_level: low, approver_role: tech_lead}, on_approved: workflow_complete, on_rejected: workflow_failed}
"#;
const HOTFIX: &str = r#"
name: Hotfix
version: "1.0"
description: Fails the first time.
steps:
  - {id: fragile, type: agent_call, agent: helper, on_success: workflow_complete}
error_handling:
  - {step: fragile, max_retries: 0}
"#;
/// As the guide has it.
const CLEAN_UP: &str = "-- Archive workflows older than 30 days
DELETE FROM workflow_state
WHERE status = 'completed'
  AND completed_at < NOW() - INTERVAL '30 days';";

struct Runs {
    world: World,
    completed: String,
    failed: String,
    paused: String,
}

async fn runs() -> Runs {
    let failed_once = AtomicBool::new(false);
    let agents = Agents::start(move |call| match call.step() {
        "fragile" if !failed_once.swap(true, Ordering::SeqCst) => {
            (400, json!({"error": {"message": "no capacity"}}))
        }
        _ => (200, json!({"ok": true})),
    })
    .await;
    let world = World::builder().template("pr-deployment", DEPLOYMENT).template("hotfix", HOTFIX);
    let world = world.agents(&agents.yaml(&[("helper", false)])).start().await;
    let completed = world.execute("pr-deployment", json!({"ask": false})).await;
    let failed = world.execute("hotfix", json!({})).await;
    let paused = world.execute("pr-deployment", json!({"ask": true})).await;
    world.wait_for(&completed, "completed").await;
    world.wait_for(&failed, "failed").await;
    world.wait_for(&paused, "paused").await;
    Runs { world, completed, failed, paused }
}

/// Runs as they are listed.
async fn ids(world: &World, query: &str) -> Vec<String> {
    let (status, list) = world.get(&format!("/workflows{query}")).await;
    assert_eq!(status, 200, "{list}");
    let runs = list.as_array().unwrap();
    runs.iter().map(|run| run["workflow_id"].as_str().unwrap().to_owned()).collect()
}

/// Runs a statement as the owner: how many rows, or code, message and hint.
async fn execute(world: &World, statement: &str) -> Result<u64, [String; 3]> {
    execute_as(&world.pool, statement).await
}

async fn execute_as(
    executor: impl sqlx::PgExecutor<'_>,
    statement: &str,
) -> Result<u64, [String; 3]> {
    match sqlx::query(AssertSqlSafe(statement.to_owned())).execute(executor).await {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) => {
            let error = error.as_database_error().unwrap();
            let hint = error.downcast_ref::<sqlx::postgres::PgDatabaseError>().hint();
            Err([error.code().unwrap(), error.message().into(), hint.unwrap_or_default().into()]
                .map(std::borrow::Cow::into_owned))
        }
    }
}

/// Everything that is recorded of a run.
async fn record(world: &World, id: &str) -> [Value; 4] {
    let ask = async |path: &str| {
        let (status, answer) = world.get(&format!("/workflow/{id}/{path}")).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let verified = ask("verify").await;
    assert_eq!(verified["valid"], true, "{verified:#}");
    [world.status(id).await, ask("events").await, ask("events/export?format=json").await, verified]
}

#[test]
fn the_guide_cleans_up_and_loses_nothing() {
    run(async {
        let Runs { world, completed, failed, paused } = runs().await;
        let before = record(&world, &completed).await;
        assert_eq!(execute(&world, CLEAN_UP).await, Ok(0), "nothing is old enough");
        let age = "update runs set completed_at = completed_at - interval '31 days' where completed_at is not null";
        sqlx::query(age).execute(&world.pool).await.unwrap();
        assert_eq!(execute(&world, CLEAN_UP).await, Ok(1));
        assert_eq!(execute(&world, CLEAN_UP).await, Ok(0), "it is gone");

        assert_eq!(ids(&world, "").await, [paused.clone(), failed.clone()]);
        assert_eq!(ids(&world, "?limit=10").await, [paused.clone(), failed.clone()]);
        for query in ["?status=completed", "?status=completed&limit=5"] {
            assert_eq!(ids(&world, query).await, [""; 0], "{query}");
        }
        let of_template = "?template_name=pr-deployment.workflow.yaml&limit=5";
        assert_eq!(ids(&world, of_template).await, [paused]);
        assert_eq!(record(&world, &completed).await, before);
        let events = format!("select * from workflow_events where workflow_id = '{completed}'");
        assert_eq!(execute(&world, &events).await.unwrap(), 4, "start, two steps, end");

        let shown = format!("select unhide_run('{completed}')");
        let shown = async || -> bool {
            sqlx::query_scalar(AssertSqlSafe(shown.clone())).fetch_one(&world.pool).await.unwrap()
        };
        assert_eq!((shown().await, shown().await), (true, false));
        assert_eq!(ids(&world, "?status=completed").await, [completed]);
        world.stop().await;
    });
}

#[test]
fn runs_that_have_not_ended_stay_and_nothing_else_can_be_done() {
    run(async {
        let Runs { world, paused, failed, .. } = runs().await;
        let all = ids(&world, "").await;
        for statement in [
            format!("delete from workflow_state where workflow_id = '{paused}'"),
            "delete from workflow_state".to_owned(),
        ] {
            let [code, message, hint] = execute(&world, &statement).await.unwrap_err();
            assert_eq!(code, "55000");
            assert_eq!(
                message,
                format!("run {paused} is paused: only runs that have ended can be deleted")
            );
            assert!(hint.starts_with(&format!("End it first: sluice cancel {paused}.")), "{hint}");
            assert_eq!(ids(&world, "").await, all, "{statement}");
        }
        for statement in [
            "update workflow_state set status = 'completed'",
            "insert into workflow_state (workflow_id) values ('x')",
        ] {
            assert_eq!(execute(&world, statement).await.unwrap_err()[0], "42501", "{statement}");
        }

        // Who takes a hidden run up again sees it again.
        let hide = format!("delete from workflow_state where workflow_id = '{failed}'");
        assert_eq!(execute(&world, &hide).await, Ok(1));
        assert!(!ids(&world, "").await.contains(&failed));
        let again = world.post(&format!("/workflow/{failed}/retry-from/fragile"), &json!({})).await;
        assert_eq!(again.0, 200, "{}", again.1);
        world.wait_for(&failed, "completed").await;
        assert!(ids(&world, "").await.contains(&failed));
        world.stop().await;
    });
}

#[test]
fn roles_may_what_they_were_given() {
    run(async {
        let Runs { mut world, completed, .. } = runs().await;
        let [reader, keeper] = ["reader", "keeper"].map(|role| format!("{role}-{}", world.name));
        let mut superuser = PgConnection::connect(&servers().await.superuser_url()).await.unwrap();
        for (role, grant) in [(&reader, "grant_reading"), (&keeper, "grant_hiding")] {
            execute_as(&mut superuser, &format!("create role \"{role}\"")).await.unwrap();
            execute(&world, &format!("select {grant}('{role}')")).await.unwrap();
        }
        // What a later version brings.
        execute(&world, "create view workflow_later as select 1 as one").await.unwrap();
        world.stop_coordinators().await;
        world.start_coordinator().await;

        let hide = format!("delete from workflow_state where workflow_id = '{completed}'");
        let show = format!("select unhide_run('{completed}')");
        let allowed: [(&str, bool, bool); 7] = [
            ("select * from workflow_state", true, true),
            ("select * from workflow_events", true, true),
            ("select * from workflow_later", true, true),
            (&hide, false, true),
            (&show, false, true),
            ("select * from runs", false, false),
            ("select grant_hiding(session_user::name)", false, false),
        ];
        let mut connection = PgConnection::connect(&superuser_url(&world).await).await.unwrap();
        for (statement, may_read, may_hide) in allowed {
            for (role, may) in [(&reader, may_read), (&keeper, may_hide)] {
                execute_as(&mut connection, &format!("set role \"{role}\"")).await.unwrap();
                let done = execute_as(&mut connection, statement).await;
                execute_as(&mut connection, "reset role").await.unwrap();
                match may {
                    true => assert!(done.is_ok(), "{role}: {statement}: {done:?}"),
                    false => assert_eq!(done.unwrap_err()[0], "42501", "{role}: {statement}"),
                }
            }
        }
        world.stop().await;
    });
}

#[test]
fn the_views_show_what_there_is() {
    run(async {
        let rich = record_rich::ended().await;
        let text = async |query: &str| -> Vec<String> {
            let query = AssertSqlSafe(query.replace("RICH", &rich.id));
            sqlx::query_scalar(query).fetch_all(&rich.world.pool).await.unwrap()
        };
        for (query, expected) in [
            (
                "select concat_ws(' ', step_id, action, approver, approver_role, comment) from workflow_approvals where workflow_id = 'RICH'",
                &["gate approve_gate ada tech_lead looks \"good\""][..],
            ),
            (
                "select concat_ws(' ', step_id, status, risk_level, approver_role, required_count, approved_at is not null, rejected_at is null) from approval_requests where workflow_id = 'RICH'",
                &["gate approved high tech_lead 1 t t"],
            ),
            (
                "select concat_ws(' ', risk_level, approver_role, total, approved, rejected, pending) from approval_statistics",
                &["high tech_lead 1 1 0 0"],
            ),
            (
                "select concat_ws(' ', template_name, total, open, completed, rolled_back) from workflow_statistics order by 1",
                &["holder.workflow.yaml 1 0 1 0", "rich.workflow.yaml 1 0 0 1"],
            ),
            (
                "select distinct concat_ws(' ', operation, resource_id) from lock_history where workflow_id = 'RICH' order by 1",
                &[
                    "acquire_lock deployment:x",
                    "release_lock deployment:x",
                    "wait_lock deployment:x",
                ],
            ),
            (
                "select (wait_time_ms >= 0)::text from lock_history where workflow_id = 'RICH' and operation = 'acquire_lock' limit 1",
                &["true"],
            ),
            (
                "select (count(*) = max(event_number) and count(*) = 1 + count(time_since_previous) and min(time_since_previous) >= interval '0')::text from workflow_event_timeline where workflow_id = 'RICH'",
                &["true"],
            ),
            (
                "select concat_ws(' ', root_workflow_id = workflow_id, depth, chain_length, chain_path[1] = 'RICH') from workflow_chains where workflow_id = 'RICH'",
                &["t 1 1 t"],
            ),
            ("select workflow_id from active_workflows", &[]),
            ("select resource_id from resource_locks", &[]),
            ("select resource_id from lock_wait_queue", &[]),
        ] {
            assert_eq!(text(query).await, expected, "{query}");
        }
        rich.world.stop().await;

        let Runs { world, paused, .. } = runs().await;
        let waits: Vec<String> = sqlx::query_scalar(
            "select concat_ws(' ', p.workflow_id, p.template_name, p.step_id, p.risk_level, a.status, a.current_step)
               from pending_approvals p join active_workflows a using (workflow_id)",
        )
        .fetch_all(&world.pool)
        .await
        .unwrap();
        assert_eq!(
            waits,
            [format!("{paused} pr-deployment.workflow.yaml approve low paused approve")]
        );
        world.stop().await;
    });
}

async fn superuser_url(world: &World) -> String {
    let url = servers().await.superuser_url();
    format!("{}/{}", url.rsplit_once('/').unwrap().0, world.name)
}

/// Relations and columns that do not say what they hold. Partitions are as their tables; the table of
/// migrations is that of a library.
const SILENT: &str = "select c.relname || coalesce('.' || a.attname, '')
  from pg_class c
  left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
   and c.relname <> '_sqlx_migrations'
   and (col_description(c.oid, a.attnum) is null or obj_description(c.oid, 'pg_class') is null)
 order by 1";

#[test]
fn every_column_says_what_it_holds() {
    run(async {
        let world = World::builder().workers(0).start().await;
        let silent = async || -> Vec<String> {
            sqlx::query_scalar(SILENT).fetch_all(&world.pool).await.unwrap()
        };
        assert_eq!(silent().await, [""; 0]);
        execute(&world, "create view silent as select 1 as one").await.unwrap();
        execute(&world, "alter table timers add column more int").await.unwrap();
        assert_eq!(silent().await, ["silent.one", "timers.more"]);
        world.stop().await;
    });
}

/// Those of a page.
fn statements(page: &str) -> Vec<&str> {
    page.split("```sql\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn what_the_page_shows_works() {
    run(async {
        let Runs { world, completed, .. } = runs().await;
        let mut connection = PgConnection::connect(&superuser_url(&world).await).await.unwrap();
        let statements = statements(PAGE);
        assert!(statements.len() >= 6);
        for statement in statements {
            let statement = statement
                .replace("hotfix-5d20c1e7", &completed)
                .replace("DATABASE workflow_state", &format!("DATABASE \"{}\"", world.name));
            let done =
                sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut connection).await;
            assert!(done.is_ok(), "{statement}: {done:?}");
        }
        world.stop().await;
    });
}
