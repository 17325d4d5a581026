//! Copies of finished runs, each under its own name, at its own time, sealed anew: to Sluice they are runs like
//! any other, that can be verified and replayed.

use std::collections::HashSet;

use serde_json::Value;
use sluice_proto::seal::{GENESIS_HASH, SigningKey, hex, sha256_hex};
use sluice_proto::timestamp::Timestamp;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use time::OffsetDateTime;

use super::pattern::Pattern;

/// Runs written at once.
const BATCH: usize = 2_000;

/// What there is now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grown {
    /// Copies that were made.
    pub runs: usize,
    /// Their events.
    pub events: usize,
}

/// A finished run, to be copied.
struct Model {
    id: String,
    events: Vec<ModelEvent>,
    snapshots: Vec<ModelSnapshot>,
    started_at: OffsetDateTime,
    /// Names of locks it held.
    locks: Vec<String>,
}

struct ModelEvent {
    body: Pattern,
    event_id: String,
    /// The kept state that it tells of.
    of_snapshot: Option<i64>,
}

struct ModelSnapshot {
    event_count: i64,
    snapshot_id: String,
    format: i32,
    state: Pattern,
}

#[derive(Default)]
struct EventRows {
    months: Vec<time::Date>,
    ids: Vec<String>,
    sequences: Vec<i64>,
    bodies: Vec<Vec<u8>>,
    signatures: Vec<Vec<u8>>,
}

#[derive(Default)]
struct SnapshotRows {
    models: Vec<String>,
    ids: Vec<String>,
    counts: Vec<i64>,
    states: Vec<Vec<u8>>,
    hashes: Vec<Vec<u8>>,
    signatures: Vec<Vec<u8>>,
}

/// Rows of a batch, column by column.
#[derive(Default)]
struct Rows {
    models: Vec<String>,
    ids: Vec<String>,
    earlier_s: Vec<i64>,
    months: Vec<time::Date>,
    hashes: Vec<Vec<u8>>,
    events: EventRows,
    snapshots: SnapshotRows,
    locks: Vec<String>,
}

/// Makes `runs` copies of the finished runs in the database, the oldest `days` days ago and each younger than
/// the one before. Every lock that one of them held is a lock of its own. `told` hears how many there are.
/// Runs as the owner of the tables.
///
/// # Panics
/// There is no finished run, or the database refuses.
pub async fn grow(
    owner_url: &str,
    key: &SigningKey,
    runs: usize,
    days: i64,
    told: impl Fn(usize),
) -> Grown {
    let mut connection = PgConnection::connect(owner_url).await.unwrap();
    let models = models(&mut connection).await;
    assert!(!models.is_empty(), "there is no finished run to copy");
    sqlx::query(
        "select ensure_event_partitions((now() - make_interval(days => $1 + 31))::date, $2)",
    )
    .bind(i32::try_from(days).unwrap())
    .bind(i32::try_from(days / 28 + 3).unwrap())
    .execute(&mut connection)
    .await
    .unwrap();
    let mut taken: HashSet<String> = sqlx::query_scalar("select workflow_id from runs")
        .fetch_all(&mut connection)
        .await
        .unwrap()
        .into_iter()
        .collect();
    let mut grown = Grown::default();
    while grown.runs < runs {
        let last = runs.min(grown.runs + BATCH);
        let mut rows = Rows::default();
        for n in grown.runs..last {
            let model = &models[n % models.len()];
            // Whole seconds: moments keep their fractions.
            let earlier_s = (days * 24 * 3_600)
                - i64::try_from(n).unwrap() * days * 24 * 3_600 / i64::try_from(runs).unwrap();
            rows.add(key, model, new_id(&model.id, n, &mut taken), earlier_s);
        }
        grown.events += rows.events.months.len();
        rows.write(&mut connection).await;
        grown.runs = last;
        told(last);
    }
    for table in ["runs", "events", "snapshots", "approvals", "locks"] {
        let vacuum = AssertSqlSafe(format!("vacuum (analyze) {table}"));
        sqlx::query(vacuum).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    grown
}

/// As random as real ones are, and never twice.
fn new_id(model: &str, n: usize, taken: &mut HashSet<String>) -> String {
    let prefix = model.rsplit_once('-').map_or(model, |(prefix, _)| prefix);
    let mut number = u32::try_from(n).unwrap();
    loop {
        number = number.wrapping_add(1).wrapping_mul(0x9e37_79b1);
        let id = format!("{prefix}-{number:08x}");
        if taken.insert(id.clone()) {
            return id;
        }
    }
}

async fn models(connection: &mut PgConnection) -> Vec<Model> {
    let runs = sqlx::query(
        "select workflow_id, started_at from runs where completed_at is not null and parent_workflow_id is null
          order by started_at limit 100",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut models = Vec::new();
    for run in runs {
        models.push(model(connection, run.get(0), run.get(1)).await);
    }
    models
}

async fn model(connection: &mut PgConnection, id: String, started_at: OffsetDateTime) -> Model {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "select event_count, state from snapshots where workflow_id = $1 order by event_count",
    )
    .bind(&id)
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let states: Vec<(String, i64)> =
        rows.iter().map(|(count, state)| (sha256_hex(state), *count)).collect();
    let snapshots = sqlx::query(
        "select event_count, snapshot_id, format, state from snapshots where workflow_id = $1",
    )
    .bind(&id)
    .map(|row: sqlx::postgres::PgRow| ModelSnapshot {
        event_count: row.get(0),
        snapshot_id: row.get(1),
        format: row.get(2),
        state: Pattern::of(std::str::from_utf8(row.get(3)).unwrap(), &id, &[]),
    })
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let bodies: Vec<Vec<u8>> =
        sqlx::query_scalar("select body from events where workflow_id = $1 order by sequence")
            .bind(&id)
            .fetch_all(connection)
            .await
            .unwrap();
    let parsed: Vec<Value> =
        bodies.iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let acquired = parsed.iter().filter(|event| event["action"] == "acquire_lock");
    let locks = acquired
        .filter_map(|event| event["data"]["resource_lock"].as_str())
        .map(str::to_owned)
        .collect();
    let events = bodies
        .iter()
        .zip(&parsed)
        .map(|(body, event)| model_event(&id, body, event, &states))
        .collect();
    Model { id, events, snapshots, started_at, locks }
}

fn model_event(id: &str, body: &[u8], event: &Value, states: &[(String, i64)]) -> ModelEvent {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (event_id, prev_hash) = (word(&event["event_id"]), word(&event["prev_hash"]));
    let state = word(&event["data"]["state_sha256"]);
    let of_snapshot = states.iter().find(|(sha256, _)| *sha256 == state).map(|(_, count)| *count);
    // The state of a snapshot that is no longer kept stays what it was.
    let state = of_snapshot.map_or("", |_| state.as_str());
    let words = [event_id.as_str(), prev_hash.as_str(), state];
    let body = Pattern::of(std::str::from_utf8(body).unwrap(), id, &words);
    ModelEvent { body, event_id, of_snapshot }
}

impl Rows {
    fn add(&mut self, key: &SigningKey, model: &Model, id: String, earlier_s: i64) {
        let earlier_micros = earlier_s * 1_000_000;
        let start = Timestamp::from(model.started_at).as_micros() - earlier_micros;
        let month =
            OffsetDateTime::from(Timestamp::from_micros(start)).date().replace_day(1).unwrap();
        let states: Vec<(i64, String)> = model
            .snapshots
            .iter()
            .map(|snapshot| (snapshot.event_count, snapshot.state.fill(&id, earlier_micros, &[])))
            .collect();
        let mut head = GENESIS_HASH;
        for (n, event) in model.events.iter().enumerate() {
            let sequence = i64::try_from(n).unwrap() + 1;
            // The random part of a UUID, from the run's.
            let event_id = format!(
                "{}{}",
                &event.event_id[..24],
                &sha256_hex(format!("{id}:{sequence}").as_bytes())[..12]
            );
            let state =
                event.of_snapshot.and_then(|count| states.iter().find(|(of, _)| *of == count));
            let state = state.map(|(_, state)| sha256_hex(state.as_bytes())).unwrap_or_default();
            let body = event
                .body
                .fill(&id, earlier_micros, &[&event_id, &hex(&head), &state])
                .into_bytes();
            head = sluice_proto::verify::StoredEvent {
                sequence: 0,
                body: body.clone(),
                signature: Vec::new(),
            }
            .hash();
            self.events.months.push(month);
            self.events.ids.push(id.clone());
            self.events.sequences.push(sequence);
            self.events.signatures.push(key.sign(&body).to_vec());
            self.events.bodies.push(body);
            if let Some((snapshot, (_, state))) =
                model.snapshots.iter().zip(&states).find(|(s, _)| s.event_count == sequence)
            {
                // What a coordinator signs of a kept state.
                let signed = format!(
                    "sluice-snapshot\n{id}\n{sequence}\n{}\n{}\n",
                    snapshot.snapshot_id, snapshot.format
                );
                let signed = [signed.as_bytes(), &head, state.as_bytes()].concat();
                self.snapshots.models.push(model.id.clone());
                self.snapshots.ids.push(id.clone());
                self.snapshots.counts.push(sequence);
                self.snapshots.states.push(state.clone().into_bytes());
                self.snapshots.hashes.push(head.to_vec());
                self.snapshots.signatures.push(key.sign(&signed).to_vec());
            }
        }
        self.locks.extend(model.locks.iter().map(|lock| format!("{lock}:{id}")));
        self.models.push(model.id.clone());
        self.ids.push(id);
        self.earlier_s.push(earlier_s);
        self.months.push(month);
        self.hashes.push(head.to_vec());
    }

    async fn write(self, connection: &mut PgConnection) {
        let mut transaction = connection.begin().await.unwrap();
        sqlx::query(
            "insert into runs (workflow_id, started_month, template_name, template_sha256, status, current_step,
                               sequence, last_hash, started_at, updated_at, completed_at, failed_step, error_message)
             select u.id, u.month, m.template_name, m.template_sha256, m.status, m.current_step, m.sequence, u.hash,
                    m.started_at - make_interval(secs => u.earlier), m.updated_at - make_interval(secs => u.earlier),
                    m.completed_at - make_interval(secs => u.earlier), m.failed_step, m.error_message
               from unnest($1::text[], $2::text[], $3::bigint[], $4::date[], $5::bytea[])
                    with ordinality as u (model, id, earlier, month, hash, place)
               join runs m on m.workflow_id = u.model
              order by u.place",
        )
        .bind(&self.models)
        .bind(&self.ids)
        .bind(&self.earlier_s)
        .bind(&self.months)
        .bind(&self.hashes)
        .execute(&mut *transaction)
        .await
        .unwrap();
        sqlx::query(
            "insert into events (started_month, workflow_id, sequence, body, signature)
             select * from unnest($1::date[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[])",
        )
        .bind(&self.events.months)
        .bind(&self.events.ids)
        .bind(&self.events.sequences)
        .bind(&self.events.bodies)
        .bind(&self.events.signatures)
        .execute(&mut *transaction)
        .await
        .unwrap();
        sqlx::query(
            "insert into snapshots (workflow_id, event_count, snapshot_id, format, state, last_hash, key_id,
                                    signature, created_at)
             select u.id, u.event_count, s.snapshot_id, s.format, u.state, u.hash, s.key_id, u.signature, s.created_at
               from unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
                    as u (model, id, event_count, state, hash, signature)
               join snapshots s on s.workflow_id = u.model and s.event_count = u.event_count",
        )
        .bind(&self.snapshots.models)
        .bind(&self.snapshots.ids)
        .bind(&self.snapshots.counts)
        .bind(&self.snapshots.states)
        .bind(&self.snapshots.hashes)
        .bind(&self.snapshots.signatures)
        .execute(&mut *transaction)
        .await
        .unwrap();
        sqlx::query(
            "insert into approvals (approval_id, workflow_id, step_id, status, reason, risk_level, approver_role,
                                    required, created_at, decided_at)
             select replace(a.approval_id, u.model, u.id), u.id, a.step_id, a.status, a.reason, a.risk_level,
                    a.approver_role, a.required, a.created_at - make_interval(secs => u.earlier),
                    a.decided_at - make_interval(secs => u.earlier)
               from unnest($1::text[], $2::text[], $3::bigint[]) as u (model, id, earlier)
               join approvals a on a.workflow_id = u.model",
        )
        .bind(&self.models)
        .bind(&self.ids)
        .bind(&self.earlier_s)
        .execute(&mut *transaction)
        .await
        .unwrap();
        sqlx::query("insert into locks (name, fencing_number) select name, 1 from unnest($1::text[]) as l (name) on conflict do nothing")
            .bind(&self.locks)
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }
}
