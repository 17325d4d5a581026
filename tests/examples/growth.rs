//! What finished runs cost those that come after them: two databases on one durable server, one with a few
//! thousand runs and one with as many as asked for, measured in turns.
//!
//! `cargo run -p sluice-tests --release --example growth -- --runs 1000000 --pairs 5`
//!
//! Prints Markdown; `docs/performance.md` has what it printed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::time::Instant;

use sluice_proto::seal::SigningKey;
use sluice_tests::growth::{CHAIN_STEPS, Call, Listener, Site, argument, explain, grow};
use sluice_tests::{SECRET, durable_servers, run};
use sqlx::{Connection, PgConnection};

const DAYS: i64 = 365;
/// What the other database has: enough for its indexes to be more than one page.
const FEW_RUNS: usize = 2_000;
/// Chains under way at once where throughput is measured.
const AT_ONCE: usize = 50;
/// Chains of which buffers and statements are counted, one after the other.
const COUNTED: usize = 20;

/// Statements by a part of their text.
const READS: [(&str, &str); 6] = [
    ("list, newest 20", "and (started_at, workflow_id) < ($1, $2)  order by"),
    (
        "list, a status, newest 20",
        "and (started_at, workflow_id) < ($1, $2) and outcome = $5 order by",
    ),
    (
        "list, a template, newest 20",
        "and (started_at, workflow_id) < ($1, $2) and template_name = $5 order by",
    ),
    ("list, all open and 1,000 others", "and completed_at is null limit $4"),
    ("one run: its row", "from runs where workflow_id = any($1)"),
    ("one run: its events", "e.sequence > u.behind"),
];

#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    steps_per_s: f64,
    wal_bytes: f64,
    buffers: f64,
    statements: f64,
}

fn main() {
    let number = |name: &str, default: usize| -> usize {
        argument(name).map_or(default, |text| text.parse().unwrap())
    };
    let (runs, pairs, chains) =
        (number("runs", 100_000), number("pairs", 5), number("chains", 200));
    run(async {
        durable_servers().await;
        let (mut few, mut many) = (site_with(FEW_RUNS).await, site_with(runs).await);
        println!("| | {FEW_RUNS} runs | {runs} runs | ratio |\n|---|---|---|---|");
        reads(&mut few, &mut many).await;
        few.world.stop_coordinators().await;
        many.world.stop_coordinators().await;
        let mut costs = Vec::new();
        for _ in 0..pairs {
            costs.push((cost(&mut few, chains).await, cost(&mut many, chains).await));
        }
        steps(&costs);
        few.world.stop().await;
        many.world.stop().await;
    });
}

async fn site_with(runs: usize) -> Site {
    let site = Site::start().await;
    let begun = Instant::now();
    let key = SigningKey::new(&SECRET).unwrap();
    let told = |n: usize| {
        if n.is_multiple_of(100_000) {
            eprintln!("{n} runs after {:.0} s", begun.elapsed().as_secs_f32());
        }
    };
    let grown = grow(site.world.database_owner_url(), &key, runs, DAYS, told).await;
    eprintln!(
        "{} runs, {} events, {:.0} s",
        grown.runs,
        grown.events,
        begun.elapsed().as_secs_f32()
    );
    site
}

/// Buffers of what people ask for, where they ask for the newest and about the oldest.
async fn reads(few: &mut Site, many: &mut Site) {
    let (few, many) = (asked(few).await, asked(many).await);
    for (name, text) in READS {
        let (few, many) = (buffers(&few, text).await, buffers(&many, text).await);
        println!("| buffers of {name} | {few:.0} | {many:.0} | {:.2} |", many / few);
    }
}

/// What reaches the database when people look, and where it is.
async fn asked(site: &mut Site) -> (String, Vec<Call>) {
    let oldest = "select workflow_id from runs where template_name = 'rich.workflow.yaml' and status = 'completed'
                   order by started_at limit 1";
    let id: String = sqlx::query_scalar(oldest).fetch_one(&site.world.pool).await.unwrap();
    site.world.stop_coordinators().await;
    let listener = Listener::start(&site.world.name).await;
    site.world.start_coordinator().await;
    site.look(&id).await;
    Listener::stop(&site.world.name).await;
    (site.world.database_owner_url().to_owned(), listener.heard())
}

async fn buffers((url, calls): &(String, Vec<Call>), text: &str) -> f64 {
    let call = calls.iter().find(|call| call.sql.contains(text));
    let call = call.unwrap_or_else(|| panic!("nobody asked '{text}'"));
    let mut connection = PgConnection::connect(url).await.unwrap();
    explain(&mut connection, call, false).await.unwrap().buffers.unwrap() as f64
}

/// What a step of a chain costs; no other coordinator runs.
async fn cost(site: &mut Site, chains: usize) -> Cost {
    let steps = |runs: usize| (runs * CHAIN_STEPS) as f64;
    let listener = Listener::start(&site.world.name).await;
    site.world.start_coordinator().await;
    site.chains(COUNTED, 1).await;
    let statements = listener.heard().len() as f64 / steps(COUNTED);
    Listener::stop(&site.world.name).await;
    let buffers = site.buffers_of_a_step(COUNTED).await;
    let before = written(site).await;
    let took = site.chains(chains, AT_ONCE).await;
    let wal_bytes = (written(site).await - before) / steps(chains);
    site.world.stop_coordinators().await;
    Cost { steps_per_s: steps(chains) / took.as_secs_f64(), wal_bytes, buffers, statements }
}

async fn written(site: &Site) -> f64 {
    let bytes = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
    sqlx::query_scalar(bytes).fetch_one(&site.world.pool).await.unwrap()
}

/// One of the costs.
type Measure = fn(&Cost) -> f64;

/// The median of the pairs, by their ratio.
fn steps(costs: &[(Cost, Cost)]) {
    let measures: [(&str, Measure); 4] = [
        ("buffers a step", |cost| cost.buffers),
        ("statements a step, one run at a time", |cost| cost.statements),
        ("write-ahead log a step, bytes", |cost| cost.wal_bytes),
        ("steps a second, 50 runs at a time", |cost| cost.steps_per_s),
    ];
    for (name, of) in measures {
        let mut pairs: Vec<(f64, f64)> =
            costs.iter().map(|(few, many)| (of(few), of(many))).collect();
        eprintln!("{name}: {pairs:.1?}");
        pairs.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
        let (few, many) = pairs[pairs.len() / 2];
        println!("| {name} | {few:.1} | {many:.1} | {:.2} |", many / few);
    }
}
