//! Whoever owns the database changes what was recorded; everybody who looks notices.

use serde_json::{Value, json};
use sluice_proto::api::VerifyResponse;
use sluice_proto::seal::SigningKey;
use sluice_proto::verify::{KeyRing, StoredEvent, verify};
use sluice_tests::{SECRET, run};
use sqlx::{Executor, PgPool, Row};

use crate::record_rich::{self, Rich};

/// One stored event.
#[derive(Clone)]
struct Stored {
    sequence: i64,
    body: Vec<u8>,
    signature: Vec<u8>,
}

/// What was tried, and what was noticed.
#[derive(Default)]
struct Tally {
    mutations: usize,
    by_verify: usize,
    by_replay: usize,
    by_report: usize,
}

impl Tally {
    /// Looks at the record as it is now; `event` is the one that must be named.
    async fn look(&mut self, rich: &Rich, what: &str, event: Option<i64>) {
        self.mutations += 1;
        let verified = rich.ask("verify").await;
        let found = verified["findings"].as_array().unwrap();
        let named = event.is_none_or(|n| found.iter().any(|finding| finding["sequence"] == n));
        assert!(verified["valid"] == false && named, "{what}: {verified:#}");
        self.by_verify += 1;
        let (status, replayed) = rich.post("replay", json!({})).await;
        assert_eq!(status, 200, "{what}: {replayed}");
        assert_eq!(
            (&replayed["matches"], &replayed["signatures_valid"]),
            (&json!(false), &json!(false)),
            "{what}: {replayed:#}"
        );
        self.by_replay += 1;
        let exported = rich.ask("events/export").await;
        let verification: VerifyResponse = serde_json::from_value(verified).unwrap();
        let report = sluice_report::data(exported.as_array().unwrap(), &verification);
        assert_eq!(report["verdict"], "tampered", "{what}");
        self.by_report += 1;
    }
}

async fn stored(pool: &PgPool, id: &str) -> Vec<Stored> {
    let rows = sqlx::query(
        "select sequence, body, signature from events where workflow_id = $1 order by sequence",
    )
    .bind(id)
    .fetch_all(pool)
    .await
    .unwrap();
    let read = |row: &sqlx::postgres::PgRow| Stored {
        sequence: row.get(0),
        body: row.get(1),
        signature: row.get(2),
    };
    rows.iter().map(read).collect()
}

async fn write(pool: &PgPool, id: &str, event: &Stored) {
    sqlx::query(
        "update events set body = $3, signature = $4 where workflow_id = $1 and sequence = $2",
    )
    .bind(id)
    .bind(event.sequence)
    .bind(&event.body)
    .bind(&event.signature)
    .execute(pool)
    .await
    .unwrap();
}

/// Every way to a value that is no object with something in it.
pub(crate) fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, inner)| leaves(inner, &format!("{path}/{name}"), found));
        }
        Value::Array(items) if !items.is_empty() => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, inner)| leaves(inner, &format!("{path}/{n}"), found));
        }
        _ => found.push(path.to_owned()),
    }
}

pub(crate) fn other(value: &Value) -> Value {
    match value {
        // Another moment, another hash, another id: of the same shape.
        Value::String(text) => match text.strip_suffix('Z') {
            Some(moment) => json!(format!("{}Z", turned(moment))),
            None => json!(turned(text)),
        },
        Value::Number(number) => json!(number.as_f64().unwrap() + 1.0),
        Value::Bool(truth) => json!(!truth),
        Value::Null => json!("x"),
        Value::Array(_) => json!(["x"]),
        Value::Object(_) => json!({"x": 1}),
    }
}

/// The same text with another last character.
fn turned(text: &str) -> String {
    let mut other = text.to_owned();
    let last = other.pop();
    other.push(if last == Some('0') { '1' } else { '0' });
    other
}

#[test]
fn every_change_of_a_record_is_noticed() {
    run(async {
        let rich = record_rich::ended().await;
        rich.annotate("customer waits").await;
        let pool = &rich.world.pool;
        let id = rich.id.as_str();
        let verified = rich.ask("verify").await;
        assert_eq!((&verified["valid"], &verified["findings"]), (&json!(true), &json!([])));
        let (_, replayed) = rich.post("replay", json!({})).await;
        assert_eq!(replayed["differences"], json!([]));
        pool.execute("alter table events disable trigger user").await.unwrap();
        let whole = stored(pool, id).await;
        let mut tally = Tally::default();

        for event in &whole {
            fields(&mut tally, &rich, event).await;
        }
        rows(&mut tally, &rich, &whole).await;
        order(&mut tally, &rich, &whole).await;
        forgeries(&mut tally, &rich, &whole).await;

        assert_eq!(rich.ask("verify").await["findings"], json!([]), "everything was put back");
        println!(
            "{} events; {} mutations: {} noticed by verify, {} by replay, {} by the report",
            whole.len(),
            tally.mutations,
            tally.by_verify,
            tally.by_replay,
            tally.by_report
        );
        assert!(tally.mutations > 300, "only {} mutations", tally.mutations);
        rich.world.stop().await;
    });
}

/// Every field of the body, one at a time: another value, and none.
async fn fields(tally: &mut Tally, rich: &Rich, event: &Stored) {
    let (pool, id) = (&rich.world.pool, rich.id.as_str());
    let body: Value = serde_json::from_slice(&event.body).unwrap();
    let mut paths = Vec::new();
    leaves(&body, "", &mut paths);
    for path in paths {
        let mut changed = body.clone();
        let place = changed.pointer_mut(&path).unwrap();
        *place = other(place);
        let changed = canonical(&changed);
        write(pool, id, &Stored { body: changed, ..event.clone() }).await;
        tally.look(rich, &format!("{path} of {}", event.sequence), Some(event.sequence)).await;
    }
    for field in body.as_object().unwrap().keys() {
        let mut changed = body.clone();
        changed.as_object_mut().unwrap().remove(field);
        let changed = canonical(&changed);
        write(pool, id, &Stored { body: changed, ..event.clone() }).await;
        tally.look(rich, &format!("no {field} in {}", event.sequence), Some(event.sequence)).await;
    }
    for body in [b"".to_vec(), b"{".to_vec(), b"\xff\x00".to_vec()] {
        write(pool, id, &Stored { body, ..event.clone() }).await;
        tally.look(rich, &format!("no event at {}", event.sequence), Some(event.sequence)).await;
    }
    write(pool, id, event).await;
}

/// Sorted keys are all that matters here: numbers and texts are written as they were.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let mut value = value.clone();
    value.sort_all_objects();
    serde_json::to_vec(&value).unwrap()
}

/// Columns beside the body, and whole rows.
async fn rows(tally: &mut Tally, rich: &Rich, whole: &[Stored]) {
    let (pool, id) = (&rich.world.pool, rich.id.as_str());
    for event in whole {
        let n = event.sequence;
        for signature in [vec![0; 32], event.signature.iter().map(|byte| byte ^ 1).collect()] {
            write(pool, id, &Stored { signature, ..event.clone() }).await;
            tally.look(rich, &format!("signature of {n}"), Some(n)).await;
        }
        write(pool, id, event).await;
        let moves = [
            ("sequence = sequence + 1000", "sequence = sequence - 1000"),
            ("workflow_id = 'another'", "workflow_id = $1"),
            (
                "started_month = (started_month + interval '1 month')::date",
                "started_month = (started_month - interval '1 month')::date",
            ),
        ];
        for (change, back) in moves {
            let statement =
                format!("update events set {change} where workflow_id = $1 and sequence = $2");
            let statement = sqlx::AssertSqlSafe(statement);
            let done = sqlx::query(statement).bind(id).bind(n).execute(pool).await.unwrap();
            assert_eq!(done.rows_affected(), 1, "{change}");
            tally.look(rich, &format!("{change} of {n}"), None).await;
            let statement = format!(
                "update events set {back} where workflow_id in ($1, 'another') and sequence in ($2, $2 + 1000)"
            );
            let statement = sqlx::AssertSqlSafe(statement);
            let done = sqlx::query(statement).bind(id).bind(n).execute(pool).await.unwrap();
            assert_eq!(done.rows_affected(), 1, "{back}");
        }
        let (month,): (String,) = sqlx::query_as(
            "with gone as (delete from events where workflow_id = $1 and sequence = $2 returning started_month)
             select started_month::text from gone",
        )
        .bind(id)
        .bind(n)
        .fetch_one(pool)
        .await
        .unwrap();
        tally.look(rich, &format!("{n} deleted"), Some(n)).await;
        insert(pool, id, &month, event).await;
    }
}

async fn insert(pool: &PgPool, id: &str, month: &str, event: &Stored) {
    sqlx::query("insert into events values ($1::text::date, $2, $3, $4, $5)")
        .bind(month)
        .bind(id)
        .bind(event.sequence)
        .bind(&event.body)
        .bind(&event.signature)
        .execute(pool)
        .await
        .unwrap();
}

/// Neighbours that change places, an event twice, the end cut off.
async fn order(tally: &mut Tally, rich: &Rich, whole: &[Stored]) {
    let (pool, id) = (&rich.world.pool, rich.id.as_str());
    let month = "select started_month::text from runs where workflow_id = $1";
    let month: String = sqlx::query_scalar(month).bind(id).fetch_one(pool).await.unwrap();
    for pair in whole.windows(2) {
        let swapped = [
            Stored { sequence: pair[0].sequence, ..pair[1].clone() },
            Stored { sequence: pair[1].sequence, ..pair[0].clone() },
        ];
        for event in &swapped {
            write(pool, id, event).await;
        }
        let n = pair[0].sequence;
        tally.look(rich, &format!("{n} and the next changed places"), Some(n)).await;
        for event in pair {
            write(pool, id, event).await;
        }
    }
    let last = whole.last().unwrap();
    for event in whole {
        let again = Stored { sequence: last.sequence + 1, ..event.clone() };
        insert(pool, id, &month, &again).await;
        tally.look(rich, &format!("{} again at the end", event.sequence), None).await;
        let statement = "delete from events where workflow_id = $1 and sequence = $2";
        sqlx::query(statement).bind(id).bind(again.sequence).execute(pool).await.unwrap();
    }
    for keep in 0..last.sequence {
        let statement = "delete from events where workflow_id = $1 and sequence > $2";
        sqlx::query(statement).bind(id).bind(keep).execute(pool).await.unwrap();
        tally.look(rich, &format!("cut off behind {keep}"), Some(keep + 1)).await;
        for event in whole.iter().filter(|event| event.sequence > keep) {
            insert(pool, id, &month, event).await;
        }
    }
}

/// Somebody with another secret writes the whole record anew, and gives the run's row the new hash.
async fn forgeries(tally: &mut Tally, rich: &Rich, whole: &[Stored]) {
    let (pool, id) = (&rich.world.pool, rich.id.as_str());
    let key = SigningKey::new(b"a secret that nobody has configured").unwrap();
    let head = "select last_hash from runs where workflow_id = $1";
    let head: Vec<u8> = sqlx::query_scalar(head).bind(id).fetch_one(pool).await.unwrap();
    for keeps_key_id in [false, true] {
        let mut previous = "0".repeat(64);
        for event in whole {
            let mut forged = sluice_proto::event::Event::read(&event.body, 1).unwrap();
            if !keeps_key_id {
                key.key_id().clone_into(&mut forged.key_id);
            }
            forged.prev_hash = previous;
            let sealed = key.seal(&forged).unwrap();
            previous = sluice_proto::seal::hex(&sealed.hash);
            let (body, signature) = (sealed.body, sealed.signature.to_vec());
            write(pool, id, &Stored { sequence: event.sequence, body, signature }).await;
        }
        set_head(pool, id, &previous).await;
        tally.look(rich, "everything signed with another key", Some(1)).await;
    }
    for event in whole {
        write(pool, id, event).await;
    }
    set_head(pool, id, &sluice_proto::seal::hex(&head)).await;
}

async fn set_head(pool: &PgPool, id: &str, hash: &str) {
    sqlx::query("update runs set last_hash = decode($2, 'hex') where workflow_id = $1")
        .bind(id)
        .bind(hash)
        .execute(pool)
        .await
        .unwrap();
}

#[test]
fn every_change_of_a_row_beside_the_record_is_a_difference() {
    run(async {
        let rich = record_rich::ended().await;
        let (pool, id) = (&rich.world.pool, rich.id.as_str());
        let changes = [
            ("status", "status = 'completed'"),
            ("current_step", "current_step = 'review'"),
            ("template_name", "template_name = 'x'"),
            ("template_sha256", "template_sha256 = 'x'"),
            ("parent_workflow_id", "parent_workflow_id = 'x'"),
            ("started_at", "started_at = started_at + interval '1 microsecond'"),
            ("updated_at", "updated_at = updated_at + interval '1 microsecond'"),
            ("completed_at", "completed_at = completed_at + interval '1 microsecond'"),
            ("failed_step", "failed_step = 'review'"),
            ("error_message", "error_message = 'x'"),
            ("sequence", "sequence = sequence + 1"),
            ("last_hash", "last_hash = sha256(last_hash)"),
        ];
        for (column, change) in changes {
            let kept: Value =
                sqlx::query_scalar("select to_jsonb(r) from runs r where workflow_id = $1")
                    .bind(id)
                    .fetch_one(pool)
                    .await
                    .unwrap();
            let statement = format!("update runs set {change} where workflow_id = $1");
            sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id).execute(pool).await.unwrap();
            let (_, replayed) = rich.post("replay", json!({})).await;
            let named = replayed["differences"].as_array().unwrap().iter();
            let whats: Vec<&str> = named.filter_map(|found| found["what"].as_str()).collect();
            assert!(whats.contains(&format!("runs.{column}").as_str()), "{column}: {replayed:#}");
            assert_eq!(replayed["matches"], false);
            let back = "update runs r set (status, current_step, template_name, template_sha256, parent_workflow_id,
                              started_at, updated_at, completed_at, failed_step, error_message, sequence, last_hash)
                        = (select k.status, k.current_step, k.template_name, k.template_sha256, k.parent_workflow_id,
                              k.started_at, k.updated_at, k.completed_at, k.failed_step, k.error_message, k.sequence,
                              k.last_hash from jsonb_populate_record(null::runs, $2) k) where workflow_id = $1";
            sqlx::query(back).bind(id).bind(kept).execute(pool).await.unwrap();
        }
        let approval = "update approvals set status = 'rejected' where workflow_id = $1";
        sqlx::query(approval).bind(id).execute(pool).await.unwrap();
        let (_, replayed) = rich.post("replay", json!({})).await;
        assert_eq!(replayed["differences"][0]["what"], "approvals", "{replayed:#}");
        assert_eq!(replayed["signatures_valid"], true);
        rich.world.stop().await;
    });
}

/// The same without a server: what `sluice verify` does with a file.
#[test]
fn every_change_of_an_export_is_noticed() {
    run(async {
        let rich = record_rich::ended().await;
        let url = format!("{}/workflow/{}/events/export", rich.world.url, rich.id);
        let text = rich.world.http.get(url).send().await.unwrap().text().await.unwrap();
        let exported: Vec<Value> = serde_json::from_str(&text).unwrap();
        let keys: KeyRing = [SigningKey::new(&SECRET).unwrap()].into_iter().collect();
        let check = |events: &[Value]| {
            let events: Vec<StoredEvent> = events
                .iter()
                .zip(1..)
                .map(|(event, n)| StoredEvent::from_export(event, n))
                .collect();
            verify(&rich.id, &events, Some(&keys), &[]).findings
        };
        assert_eq!(check(&exported), []);
        let mut mutations = 0;
        for index in 0..exported.len() {
            let mut paths = Vec::new();
            leaves(&exported[index], "", &mut paths);
            for path in paths {
                let mut changed = exported.clone();
                let place = changed[index].pointer_mut(&path).unwrap();
                *place = other(place);
                let found = check(&changed);
                assert!(!found.is_empty(), "{path} of {index}");
                mutations += 1;
            }
            let mut stripped = exported.clone();
            stripped[index].as_object_mut().unwrap().remove("signature");
            assert!(!check(&stripped).is_empty(), "signature of {index} stripped");
            mutations += 1;
            if index + 1 < exported.len() {
                let mut removed = exported.clone();
                removed.remove(index);
                assert!(!check(&removed).is_empty(), "{index} removed");
                let mut swapped = exported.clone();
                swapped.swap(index, index + 1);
                assert!(!check(&swapped).is_empty(), "{index} swapped");
                mutations += 2;
            }
        }
        println!("{mutations} mutations of an export of {} events, each noticed", exported.len());
        rich.world.stop().await;
    });
}
