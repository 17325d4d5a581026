//! `sluice dev` killed outright, again and again, with all its servers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use sluice_tests::run;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::dev::Dev;
use sluice_tests::processes::agents::{Agents, Answer, Call};
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::record;
use sluice_tests::processes::site::Api;

const CHAIN: &str = r#"
name: Chain
version: "1.0"
description: Looks, acts where nothing may happen twice, acts where a key prevents it, looks again.
steps:
  - {id: look, type: agent_call, agent: reader, on_success: act}
  - id: act
    type: agent_call
    agent: actor
    resource_lock: "stage:{{ context.stage }}"
    on_success: settle
    on_failure: workflow_failed
  - {id: settle, type: agent_call, agent: settler, on_success: report}
  - {id: report, type: agent_call, agent: reader, on_success: workflow_complete}
"#;

const GATED: &str = r#"
name: Gated
version: "1.0"
description: Asks a person before it acts.
steps:
  - {id: look, type: agent_call, agent: reader, on_success: gate}
  - id: gate
    type: hitl_approval
    risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}
    on_approved: act
    on_rejected: workflow_failed
  - id: act
    type: agent_call
    agent: actor
    resource_lock: "stage:{{ context.stage }}"
    on_success: workflow_complete
    on_failure: workflow_failed
notifications:
  - {trigger: workflow_complete, channels: [log], template: done}
"#;

const FLAKY: &str = r#"
name: Flaky
version: "1.0"
description: Its first step works at the second try.
steps:
  - {id: try, type: agent_call, agent: stumbler, on_success: settle}
  - {id: settle, type: agent_call, agent: settler, on_success: workflow_complete}
error_handling:
  - {step: try, max_retries: 3, on_error: workflow_failed}
"#;

const TEMPLATES: [(&str, &str); 3] = [("chain", CHAIN), ("gated", GATED), ("flaky", FLAKY)];
const RUNS_A_ROUND: u64 = 6;
/// Latest moment of a kill after the first run of a round was asked for.
const LATEST_KILL_MS: u64 = 1_500;
const DATA: &str = "data";

/// Runs that somebody was told are taken.
type Taken = Arc<Mutex<BTreeSet<String>>>;

/// What became of the kills.
#[derive(Debug, Default)]
struct Kills {
    while_an_agent_worked: u32,
    while_none_did: u32,
    while_starting: u32,
}

#[test]
fn dev_survives_sigkill() {
    let seed = from_env("SLUICE_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = rounds();
    println!("{rounds} kills; SLUICE_TEST_SEED={seed} replays their moments");
    run(async move {
        let started = Instant::now();
        let agents = agents(seed).await;
        let folder = folder(&agents);
        let (mut rng, mut kills, taken) =
            (fastrand::Rng::with_seed(seed), Kills::default(), Taken::default());
        for round in 0..rounds {
            one_round(&folder, round, &agents, &mut rng, &mut kills, &taken).await;
        }
        let dev = Dev::start(folder.path(), DATA).await;
        let pool = Dev::pool(folder.path(), DATA).await;
        until_all_ended(&pool, &dev.api).await;
        record::assert_whole(&pool).await;
        assert_nothing_lost(&pool, &taken).await;
        assert_calls(&pool, &agents).await;
        println!("{kills:?} in {:?}; {}", started.elapsed(), summary(&pool, &agents).await);
        pool.close().await;
        assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
    });
}

/// 50 where time is no matter.
fn rounds() -> u64 {
    let is_long = cfg!(feature = "full") || std::env::var_os("CI").is_some();
    from_env("SLUICE_TEST_KILLS").unwrap_or(if is_long { 50 } else { 8 })
}

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}='{text}': {error}")))
}

async fn agents(seed: u64) -> Agents {
    let rng = Mutex::new(fastrand::Rng::with_seed(seed));
    Agents::start(move |call: &Call| match call.agent.as_str() {
        "stumbler" if call.attempt == 1 => Answer::unavailable(),
        _ => Answer::ok(rng.lock().unwrap().u64(20..400)),
    })
    .await
}

fn folder(agents: &Agents) -> Folder {
    let folder = Folder::new("sigkill");
    for (name, text) in TEMPLATES {
        folder.write(&format!("templates/{name}.workflow.yaml"), text);
    }
    let yaml = agents.yaml(&[
        ("reader", "effects: false"),
        ("stumbler", "effects: false"),
        ("actor", "effects: true, idempotent: false"),
        ("settler", "effects: true, idempotent: true"),
    ]);
    folder.write("agents.yaml", &yaml);
    folder
}

/// Starts, begins runs, and kills everything at a moment at which an agent works.
async fn one_round(
    folder: &Folder,
    round: u64,
    agents: &Agents,
    rng: &mut fastrand::Rng,
    kills: &mut Kills,
    taken: &Taken,
) {
    if rng.u8(..8) == 0 {
        let starting = Dev::begin(folder.path(), DATA);
        tokio::time::sleep(Duration::from_millis(rng.u64(..3_000))).await;
        starting.kill().await;
        kills.while_starting += 1;
    }
    let dev = Dev::start(folder.path(), DATA).await;
    let people = people(dev.api.clone());
    let starting = begin_runs(dev.api.clone(), round, Arc::clone(taken));
    tokio::time::sleep(Duration::from_millis(rng.u64(..LATEST_KILL_MS))).await;
    match agents.is_busy_within(1, Duration::from_secs(10)).await {
        true => kills.while_an_agent_worked += 1,
        false => kills.while_none_did += 1,
    }
    dev.process.kill().await;
    people.abort();
    starting.await.unwrap();
}

/// Asks for runs while the kill may come at any time. What was answered with 200 must not be lost.
fn begin_runs(api: Api, round: u64, taken: Taken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let asked = (0..RUNS_A_ROUND).map(async |n| {
            let (template, _) = TEMPLATES[usize::try_from(n).unwrap() % TEMPLATES.len()];
            let id = format!("{template}-{round}-{n}");
            let answer = api.execute(template, &id, json!({"stage": n % 2})).await;
            match answer {
                Ok((200, _)) => drop(taken.lock().unwrap().insert(id)),
                // Its server is dead or dying.
                Ok((503, _)) | Err(_) => {}
                Ok(other) => panic!("{id}: {other:?}"),
            }
        });
        futures::future::join_all(asked).await;
    })
}

/// Approves what waits for a person, for as long as there is a server.
fn people(api: Api) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            api.approve_all().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

async fn until_all_ended(pool: &PgPool, api: &Api) {
    let until = Instant::now() + Duration::from_secs(120);
    while record::open_runs(pool).await > 0 && Instant::now() < until {
        api.approve_all().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Notifications may outlive their runs for a moment.
    while record::count(pool, "select count(*) from attempts").await > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn assert_nothing_lost(pool: &PgPool, taken: &Taken) {
    let rows: Vec<(String,)> =
        sqlx::query_as("select workflow_id from runs").fetch_all(pool).await.unwrap();
    let known: BTreeSet<String> = rows.into_iter().map(|(id,)| id).collect();
    let lost: Vec<String> = taken.lock().unwrap().difference(&known).cloned().collect();
    assert!(lost.is_empty(), "taken and then forgotten: {lost:?}");
}

async fn assert_calls(pool: &PgPool, agents: &Agents) {
    agents.assert_called_once_each("actor");
    agents.assert_keys_name_steps();
    let called: BTreeSet<String> = agents.calls().into_iter().map(|call| call.key).collect();
    let rows: Vec<(String,)> = sqlx::query_as(
        "select workflow_id || '/' || step_id || '/1' from workflow_events
          where action = 'complete_step' and data ? 'attempt'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let invented: Vec<&String> =
        rows.iter().map(|(key,)| key).filter(|key| !called.contains(*key)).collect();
    assert!(invented.is_empty(), "completed without a call: {invented:?}");
}

async fn summary(pool: &PgPool, agents: &Agents) -> String {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select status || coalesce(' at ' || failed_step, ''), count(*) from runs group by 1 order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let retries =
        record::count(pool, "select count(*) from workflow_events where action = 'retry_step'")
            .await;
    let calls = agents.calls();
    let distinct: BTreeSet<&str> = calls.iter().map(|call| call.key.as_str()).collect();
    format!("{rows:?}, {} calls under {} keys, {retries} retries", calls.len(), distinct.len())
}
