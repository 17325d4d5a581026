//! Finished runs cost those that come after them nothing: every statement that reaches a database with many of
//! them goes by an index, and touches about as many buffers as in one without.

use std::collections::BTreeMap;

use sluice_proto::seal::SigningKey;
use sluice_tests::growth::{Call, Listener, Plan, Site, explain, grow};
use sluice_tests::{PATIENCE, SECRET, run};
use sqlx::{Connection, PgConnection};

const RUNS: usize = 20_000;
/// A table with more rows than this is never read from end to end.
const LARGE: i32 = 2_000;
/// Of any statement that reads: the longest list has a thousand runs, wherever their rows lie.
const MOST_BUFFERS: i64 = 1_500;
/// Runs in a database that is as good as empty: its indexes have grown beyond a single page.
const FEW_RUNS: usize = 400;
/// Chains that are measured at once, and how often.
const CHAINS: usize = 10;
const PAIRS: usize = 5;

/// Statements that go by this index, by a part of their text.
const INDEXES: [(&str, &str); 10] = [
    ("and (started_at, workflow_id) < ($1, $2)  order by", "runs_listed"),
    (
        "and (started_at, workflow_id) < ($1, $2) and template_name = $5 order by",
        "runs_listed_by_template",
    ),
    (
        "and (started_at, workflow_id) < ($1, $2) and outcome = $5 order by",
        "runs_listed_by_outcome",
    ),
    (
        "and (started_at, workflow_id) < ($1, $2) and completed_at is null and status = $5",
        "runs_open",
    ),
    ("and outcome = $4 order by", "runs_listed_by_outcome"),
    ("and completed_at is null and status = $4 order by", "runs_open"),
    ("from runs where workflow_id = any($1)", "runs_pkey"),
    ("update runs r", "runs_pkey"),
    ("select approval_id, status from approvals", "approvals_of_run"),
    ("select * from snapshots where workflow_id = $1 order by event_count", "snapshots_pkey"),
];

async fn site_with(runs: usize) -> Site {
    let site = Site::start().await;
    let key = SigningKey::new(&SECRET).unwrap();
    let grown = grow(site.world.database_owner_url(), &key, runs, 400, |_| {}).await;
    assert_eq!(grown.runs, runs);
    site
}

/// A copy, of the kind that everything is known about.
async fn copy_of(site: &Site) -> String {
    let any = "select workflow_id from runs where template_name = 'rich.workflow.yaml' and status = 'completed'
                order by started_at limit 1";
    let id: String = sqlx::query_scalar(any).fetch_one(&site.world.pool).await.unwrap();
    assert_ne!(id, site.old);
    id
}

#[test]
fn every_statement_goes_by_an_index() {
    run(async {
        let mut site = site_with(RUNS).await;
        let copy = copy_of(&site).await;
        site.world.stop_coordinators().await;
        let listener = Listener::start(&site.world.name).await;
        site.world.start_coordinator().await;
        site.look(&copy).await;
        site.chains(2, 1).await;
        site.contend().await;
        // A round of the watchdog; this is the last that it asks.
        let until = std::time::Instant::now() + PATIENCE;
        while !listener.heard().iter().any(|call| call.sql.contains("from child_waits w")) {
            assert!(std::time::Instant::now() < until, "the watchdog does not come");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let calls: BTreeMap<String, Call> =
            listener.heard().into_iter().map(|call| (call.sql.clone(), call)).collect();
        assert!(calls.len() > 60, "only {} statements were heard", calls.len());

        let mut connection = PgConnection::connect(site.world.database_owner_url()).await.unwrap();
        let large = site.large_tables(&mut connection, LARGE).await;
        for table in ["runs", "approvals", "locks", "snapshots"] {
            assert!(large.iter().any(|name| name == table), "{table} is not large: {large:?}");
        }
        let mut wrong = Vec::new();
        for call in calls.values() {
            for generic in [false, true] {
                match explain(&mut connection, call, generic).await {
                    Ok(plan) => wrong.extend(
                        faults(call, &plan, &large)
                            .map(|fault| format!("{fault} (generic: {generic}): {}", call.sql)),
                    ),
                    Err(error) => wrong.push(format!("{error}: {}", call.sql)),
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        for (text, index) in INDEXES {
            let call = calls.values().find(|call| call.sql.contains(text));
            let call = call.unwrap_or_else(|| panic!("nobody asks '{text}'"));
            let plan = explain(&mut connection, call, false).await.unwrap();
            let goes_by = plan.scans.iter().any(|scan| scan.index.as_deref() == Some(index));
            assert!(goes_by, "{text}: {:?}", plan.scans);
        }
        site.world.stop().await;
    });
}

/// What a plan does that takes longer with every run.
fn faults<'p>(
    call: &Call,
    plan: &'p Plan,
    large: &'p [String],
) -> impl Iterator<Item = String> + use<'p> {
    let is_limited = call.sql.contains("limit");
    let unbounded = plan
        .scans
        .iter()
        .filter(move |scan| large.contains(&scan.table))
        .filter(move |scan| scan.kind == "Seq Scan" || !(scan.is_bounded || is_limited))
        .map(|scan| format!("{} over {} by {:?}", scan.kind, scan.table, scan.index));
    let many = plan.buffers.filter(|buffers| *buffers > MOST_BUFFERS);
    unbounded.chain(many.map(|buffers| format!("{buffers} buffers")))
}

#[test]
fn a_step_costs_no_more_buffers_than_in_an_empty_database() {
    run(async {
        let (mut few, mut many) = (site_with(FEW_RUNS).await, site_with(RUNS).await);
        let mut ratios = Vec::new();
        for pair in 0..PAIRS {
            let costs = (few.buffers_of_a_step(CHAINS).await, many.buffers_of_a_step(CHAINS).await);
            println!(
                "pair {pair}: {:.1} buffers a step with {FEW_RUNS} runs, {:.1} with {RUNS}",
                costs.0, costs.1
            );
            ratios.push(costs.1 / costs.0);
        }
        ratios.sort_by(f64::total_cmp);
        assert!(ratios[PAIRS / 2] <= 1.1, "{ratios:?}");
        few.world.stop().await;
        many.world.stop().await;
    });
}
