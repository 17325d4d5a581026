//! Old runs go into the archive, where everything still finds them, and nobody can change them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sluice_tests::agents::Agents;
use sluice_tests::{World, run};
use sqlx::{Executor, PgPool, Row};

use crate::record_mutations::{canonical, leaves, other};
use crate::record_rich::{self, Rich};

const LONE: &str = r#"
name: Lone
version: "1.0"
description: One step.
steps:
  - {id: work, type: agent_call, agent: helper}
error_handling:
  - {step: work, max_retries: 0}
"#;

/// Everything that has ended goes.
async fn archive(world: &World, actor: &str) -> Value {
    let request = json!({"older_than_days": 0, "requested_by": actor});
    let (status, answer) = world.post("/workflows/archive", &request).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["more"], false, "{answer}");
    answer
}

async fn count(pool: &PgPool, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(pool).await.unwrap()
}

/// What every read says of a run.
async fn reads(rich: &Rich) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for path in [
        "events?limit=1000",
        "events?action=COMPLETE_STEP",
        "events?actor=ada",
        "events/export?format=json",
        "verify",
        "state-at/5",
        "diff?from=0&to=9",
        "snapshots",
        "why",
    ] {
        all.push((path.to_owned(), rich.ask(path).await));
    }
    let (status, replayed) = rich.post("replay", json!({})).await;
    assert_eq!((status, &replayed["matches"]), (200, &json!(true)), "{replayed:#}");
    all.push(("status".to_owned(), rich.world.status(&rich.id).await));
    all.push(("list".to_owned(), rich.world.get("/workflows?limit=10").await.1));
    all
}

#[test]
fn everything_still_finds_what_is_archived() {
    run(async {
        let rich = record_rich::ended().await;
        let (world, pool) = (&rich.world, &rich.world.pool);
        let later = json!({"older_than_days": 1});
        let (_, none) = world.post("/workflows/archive", &later).await;
        assert_eq!(none, json!({"runs": 0, "events": 0, "more": false}), "none is that old");
        let before = reads(&rich).await;
        let events = count(pool, "select count(*) from events").await;

        let moved = archive(world, "ada").await;
        assert_eq!(moved, json!({"runs": 2, "events": events, "more": false}));
        assert_eq!(archive(world, "ada").await["runs"], 0, "there is nothing more to do");
        assert_eq!(count(pool, "select count(*) from events").await, 0);
        assert_eq!(count(pool, "select count(*) from workflow_events_archive").await, events);
        assert_eq!(count(pool, "select count(*) from workflow_events").await, events);
        let acts: (String, i64, i64) =
            sqlx::query_as("select requested_by, runs, events from archive_moves")
                .fetch_one(pool)
                .await
                .unwrap();
        assert_eq!(acts, ("ada".to_owned(), 2, events));
        for ((path, was), (_, is)) in before.into_iter().zip(reads(&rich).await) {
            assert_eq!(was, is, "{path}");
        }

        // A person's note about an archived run is an event like any other, and follows it.
        rich.annotate("closed").await;
        let verified = rich.ask("verify").await;
        let events = verified["events"].as_i64().unwrap();
        assert_eq!(verified["valid"], true, "{verified}");
        assert!(count(pool, "select count(*) from events").await >= 1);
        let moved = archive(world, "ada").await;
        assert_eq!(moved["runs"], 1, "{moved}");
        assert_eq!(rich.ask("verify").await["events"], events);
        assert_eq!(count(pool, "select count(*) from events").await, 0);

        let (_, page) = world.get("/workflows/ended?archived=true").await;
        let ids: BTreeSet<&str> = page["workflows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["workflow_id"].as_str().unwrap())
            .collect();
        assert!(ids.len() == 2 && ids.contains(&*rich.id), "{page}");
        let (_, ended) = world.get("/workflows/ended?days=1").await;
        assert_eq!(ended["workflows"].as_array().unwrap().len(), 2, "{ended}");
        let last = &page["workflows"][0];
        let path = format!(
            "/workflows/ended?archived=true&after_at={}&after_id={}",
            last["archived_at"].as_str().unwrap(),
            last["workflow_id"].as_str().unwrap()
        );
        let (_, rest) = world.get(&path).await;
        assert_eq!(rest["workflows"], json!([page["workflows"][1]]), "the page behind the first");
        for path in ["/workflows/ended?days=99999", "/workflows/ended?after_id=x"] {
            assert_eq!(world.get(path).await.0, 422, "{path}");
        }
        rich.world.stop().await;
    });
}

#[test]
fn nobody_changes_or_loses_what_is_archived() {
    run(async {
        let rich = record_rich::ended().await;
        let (world, pool) = (&rich.world, &rich.world.pool);
        let run_time = PgPool::connect(world.database_url()).await.unwrap();
        let statements = [
            "update events_archive set sequence = 9",
            "delete from events_archive",
            "truncate events_archive",
            "delete from events",
        ];
        // What is moved half is not moved.
        let mut transaction = run_time.begin().await.unwrap();
        for call in [
            "select ensure_archive_partitions(now(), 10)",
            "select archive_ended_runs(now(), 10, 1000, 'x')",
        ] {
            sqlx::query(call).execute(&mut *transaction).await.unwrap();
        }
        transaction.rollback().await.unwrap();
        assert_eq!(count(pool, "select count(*) from events_archive").await, 0);
        assert_eq!(rich.ask("verify").await["valid"], true);

        // A copy in the archive that is not the same to the byte lets nothing go.
        pool.execute("select ensure_archive_partitions(now(), 10)").await.unwrap();
        let forged = "insert into events_archive
            select started_month, workflow_id, sequence, body || ' ', signature, now() from events where sequence = 1";
        let mut transaction = pool.begin().await.unwrap();
        transaction.execute(forged).await.unwrap();
        let refused = transaction.execute("delete from events where sequence = 1").await;
        assert!(refused.unwrap_err().to_string().contains("events are append-only"));
        transaction.rollback().await.unwrap();

        archive(world, "ada").await;
        for statement in statements {
            let refused = run_time.execute(statement).await.unwrap_err().to_string();
            assert!(refused.contains("permission denied"), "{statement}: {refused}");
        }
        for statement in &statements[..3] {
            let refused = pool.execute(*statement).await.unwrap_err().to_string();
            assert!(refused.contains("append-only"), "{statement}: {refused}");
        }
        run_time.close().await;

        pool.execute("alter table events_archive disable trigger user").await.unwrap();
        let noticed = mutate(&rich).await;
        println!("{noticed} mutations of an archived run, each noticed by verify and by replay");
        assert!(noticed > 250, "only {noticed}");
        assert_eq!(rich.ask("verify").await["findings"], json!([]), "everything was put back");
        rich.world.stop().await;
    });
}

/// A temporary table is found before ours unless a function says where to look. What runs as the owner, or lets an
/// event go, must not be told by one.
#[test]
fn no_temporary_table_is_taken_for_ours() {
    run(async {
        let rich = record_rich::ended().await;
        let (world, pool) = (&rich.world, &rich.world.pool);
        let events = count(pool, "select count(*) from events").await;
        let run_time = PgPool::connect(world.database_url()).await.unwrap();
        let mut session = run_time.acquire().await.unwrap();
        for statement in [
            "create temp table runs as select * from public.runs",
            "update pg_temp.runs set completed_at = '2000-01-01', archived_at = null",
            "create temp table events_archive (like public.events_archive)",
            "grant all on pg_temp.runs, pg_temp.events_archive to public",
        ] {
            session.execute(statement).await.unwrap();
        }
        let moved =
            sqlx::query("select * from public.archive_ended_runs('2001-01-01', 9, 1000, 'x')")
                .fetch_one(&mut *session)
                .await
                .unwrap();
        assert_eq!((moved.get::<i64, _>(0), moved.get::<i64, _>(1)), (0, 0));
        session.execute("select public.ensure_archive_partitions(now(), 9)").await.unwrap();
        session.execute("select public.ensure_event_partitions('2001-01-01', 1)").await.unwrap();
        drop(session);
        run_time.close().await;

        // Not even the owner's.
        let mut transaction = pool.begin().await.unwrap();
        for statement in [
            "create temp table events_archive (like public.events_archive)",
            "insert into pg_temp.events_archive
             select started_month, workflow_id, sequence, body, signature, now() from public.events",
        ] {
            transaction.execute(statement).await.unwrap();
        }
        let refused = transaction.execute("delete from public.events").await.unwrap_err();
        assert!(refused.to_string().contains("events are append-only"), "{refused}");
        transaction.rollback().await.unwrap();
        assert_eq!(count(pool, "select count(*) from events").await, events);
        assert_eq!(rich.ask("verify").await["valid"], true);
        rich.world.stop().await;
    });
}

/// Who may insert events may insert some under the name of a run that is not there.
#[test]
fn an_event_in_another_month_is_noticed() {
    run(async {
        let rich = record_rich::ended().await;
        let run_time = PgPool::connect(rich.world.database_url()).await.unwrap();
        let forged = "insert into events
            select (date_trunc('month', now()) + interval '1 month')::date, workflow_id, sequence, body, signature
              from events where sequence = 7";
        assert_eq!(run_time.execute(forged).await.unwrap().rows_affected(), 1);
        run_time.close().await;
        let verified = rich.ask("verify").await;
        assert_eq!(verified["valid"], false, "{verified:#}");
        assert_eq!(verified["findings"][0]["damage"], "inserted", "{verified:#}");
        assert_eq!(verified["findings"][0]["sequence"], 7, "{verified:#}");
        let (_, replayed) = rich.post("replay", json!({})).await;
        assert_eq!(replayed["matches"], false, "{replayed:#}");
        rich.world.stop().await;
    });
}

#[test]
fn no_partition_can_be_emptied() {
    run(async {
        let rich = record_rich::ended().await;
        archive(&rich.world, "ada").await;
        let pool = &rich.world.pool;
        let parts: Vec<String> = sqlx::query_scalar(
            "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
              where i.inhparent in ('events'::regclass, 'events_archive'::regclass)",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(parts.len() >= 4, "{parts:?}");
        for part in parts {
            let truncate = sqlx::query(sqlx::AssertSqlSafe(format!("truncate {part}")));
            let refused = truncate.execute(pool).await.unwrap_err().to_string();
            assert!(refused.contains("append-only"), "{part}: {refused}");
        }
        rich.world.stop().await;
    });
}

/// Every field of every archived event, its signature, and the event itself, one at a time.
async fn mutate(rich: &Rich) -> usize {
    let pool = &rich.world.pool;
    let rows = sqlx::query(
        "select sequence, body, signature from events_archive where workflow_id = $1 order by sequence",
    )
    .bind(&rich.id)
    .fetch_all(pool)
    .await
    .unwrap();
    let mut noticed = 0;
    for row in rows {
        let (n, body, signature): (i64, Vec<u8>, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
        let event: Value = serde_json::from_slice(&body).unwrap();
        let mut paths = Vec::new();
        leaves(&event, "", &mut paths);
        for path in paths {
            let mut changed = event.clone();
            let place = changed.pointer_mut(&path).unwrap();
            *place = other(place);
            write(pool, &rich.id, n, &canonical(&changed), &signature).await;
            noticed += look(rich, &format!("{path} of {n}"), Some(n)).await;
        }
        write(pool, &rich.id, n, &body, &[0; 32]).await;
        noticed += look(rich, &format!("signature of {n}"), Some(n)).await;
        write(pool, &rich.id, n, &body, &signature).await;
        for moved in [1_000, -1_000] {
            sqlx::query("update events_archive set sequence = sequence + $3 where workflow_id = $1 and sequence = $2")
                .bind(&rich.id)
                .bind(if moved > 0 { n } else { n + 1_000 })
                .bind(moved)
                .execute(pool)
                .await
                .unwrap();
            if moved > 0 {
                noticed += look(rich, &format!("{n} elsewhere"), None).await;
            }
        }
    }
    noticed
}

async fn write(pool: &PgPool, id: &str, sequence: i64, body: &[u8], signature: &[u8]) {
    sqlx::query("update events_archive set body = $3, signature = $4 where workflow_id = $1 and sequence = $2")
        .bind(id)
        .bind(sequence)
        .bind(body)
        .bind(signature)
        .execute(pool)
        .await
        .unwrap();
}

async fn look(rich: &Rich, what: &str, event: Option<i64>) -> usize {
    let verified = rich.ask("verify").await;
    let found = verified["findings"].as_array().unwrap();
    let named = event.is_none_or(|n| found.iter().any(|finding| finding["sequence"] == n));
    assert!(verified["valid"] == false && named, "{what}: {verified:#}");
    let (_, replayed) = rich.post("replay", json!({})).await;
    assert_eq!(replayed["matches"], false, "{what}: {replayed:#}");
    1
}

#[test]
fn an_archived_run_that_failed_goes_on() {
    run(async {
        let broken = Arc::new(AtomicBool::new(true));
        let is_broken = Arc::clone(&broken);
        let agents = Agents::start(move |_| match is_broken.load(Ordering::SeqCst) {
            true => (400, json!({"error": {"message": "no"}})),
            false => (200, json!({})),
        })
        .await;
        let yaml = agents.yaml(&[("helper", false)]);
        let mut world = World::builder().template("lone", LONE).agents(&yaml).start().await;
        let id = world.execute("lone", json!({})).await;
        world.wait_for(&id, "failed").await;
        let first = archive(&world, "ada").await["events"].as_i64().unwrap();
        // Nobody has the state of the run in memory.
        world.stop_coordinators().await;
        world.start_coordinator().await;
        broken.store(false, Ordering::SeqCst);
        let path = format!("/workflow/{id}/retry-from/work?max_retries=3");
        let (status, answer) = world.post(&path, &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        world.wait_for_end(&id, "completed", 2).await;
        let second = archive(&world, "ada").await;
        assert_eq!(second["runs"], 1);
        let (_, verified) = world.get(&format!("/workflow/{id}/verify")).await;
        assert_eq!(verified["valid"], true, "{verified}");
        assert_eq!(verified["events"], first + second["events"].as_i64().unwrap());
        let (_, replayed) = world.post(&format!("/workflow/{id}/replay"), &json!({})).await;
        assert_eq!(replayed["differences"], json!([]), "{replayed:#}");
        world.stop().await;
    });
}

#[test]
fn several_coordinators_archive_every_run_once() {
    run(async {
        let agents = Agents::agreeable().await;
        let yaml = agents.yaml(&[("helper", false)]);
        let world =
            World::builder().template("lone", LONE).agents(&yaml).coordinators(2).start().await;
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.push(world.execute("lone", json!({})).await);
        }
        for id in &ids {
            world.wait_for(id, "completed").await;
        }
        let some = |world: &World| {
            let pool = world.pool.clone();
            async move {
                sqlx::query("select ensure_archive_partitions(now(), 5)")
                    .execute(&pool)
                    .await
                    .unwrap();
                let mut moved = 0;
                loop {
                    let batch = "select moved_runs from archive_ended_runs(now(), 5, 1000, 'x')";
                    match sqlx::query_scalar::<_, i64>(batch).fetch_one(&pool).await.unwrap() {
                        0 => return moved,
                        n => moved += n,
                    }
                }
            }
        };
        let api = async { archive(&world, "b").await["runs"].as_i64().unwrap() };
        let (a, b, c) = tokio::join!(some(&world), api, some(&world));
        assert_eq!(a + b + c + archive(&world, "d").await["runs"].as_i64().unwrap(), 40);
        assert_eq!(count(&world.pool, "select sum(runs)::bigint from archive_moves").await, 40);
        assert_eq!(count(&world.pool, "select count(*) from events").await, 0);
        for id in &ids {
            let (_, verified) = world.get(&format!("/workflow/{id}/verify")).await;
            assert_eq!(verified["valid"], true, "{verified}");
        }
        world.stop().await;
    });
}
