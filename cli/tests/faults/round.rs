//! One round: every fault once, on a few pairs of servers side by side.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use sluice_servers::{Options, Servers};
use sluice_tests::processes::folder::Folder;

use super::fault::Fault;
use super::scene::Scene;
use super::table::Row;

/// Pairs of servers. Most of a fault is waiting, so more of them than there are cores.
const LANES: usize = 3;
/// Longest wait for the end of all runs.
const LIMIT: Duration = Duration::from_secs(180);
/// Recoveries that take longer are told about.
const SLOW: Duration = Duration::from_secs(25);
/// A fault strikes after so many calls of agents, of some 850.
const MOMENTS: std::ops::Range<usize> = 40..240;

/// The rows of these faults, in their order.
pub(crate) async fn run(faults: Vec<Fault>, seed: u64) -> Vec<Row> {
    let count = faults.len();
    let waiting: Mutex<VecDeque<(usize, Fault)>> =
        Mutex::new(faults.into_iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    let lanes = (0..LANES.min(count)).map(async |lane| {
        let folder = Folder::new(&format!("faults-{lane}"));
        let servers = Servers::start(Options::for_tests(folder.path().join("data"))).await.unwrap();
        loop {
            let next = waiting.lock().unwrap().pop_front();
            let Some((n, fault)) = next else { break };
            let row = Box::pin(one(n, &fault, seed, &servers)).await;
            println!("{row}");
            done.lock().unwrap().push((n, row));
        }
        servers.stop().await;
    });
    futures::future::join_all(lanes).await;
    let mut rows = done.into_inner().unwrap();
    rows.sort_by_key(|(n, _)| *n);
    rows.into_iter().map(|(_, row)| row).collect()
}

async fn one(n: usize, fault: &Fault, seed: u64, servers: &Servers) -> Row {
    // By its name: alone it strikes at the same moment as in a full round.
    let own = fault
        .name
        .bytes()
        .fold(seed, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3).wrapping_add(byte.into()));
    let mut rng = fastrand::Rng::with_seed(own);
    let moment = rng.usize(MOMENTS);
    let mut scene = Scene::start(&format!("fault-{n}"), fault.load, servers, rng).await;
    scene.under_load(&fault.strike, moment).await;
    let struck = SystemTime::now();
    scene.strike(&fault.strike).await;
    let ended = scene.ended(LIMIT).await;
    let found = scene.check(fault).await;
    let recovered = if ended { Some(scene.recovery().await) } else { None };
    let healed = scene.struck.healed.unwrap();
    let row = Row {
        fault: fault.name.clone(),
        after_calls: scene.struck.calls,
        calls: scene.agents.calls().len(),
        in_flight: scene.struck.runs,
        lasted: healed.duration_since(struck).unwrap_or_default(),
        recovered,
        found,
    };
    if recovered.is_some_and(|time| time > SLOW) {
        println!("{}: last to end: {:?}", row.fault, scene.last_to_end().await);
    }
    if !row.complaints().is_empty() {
        println!("logs are kept in {}", scene.site.folder.keep().display());
    }
    row
}
