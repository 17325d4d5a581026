//! A world in which everything around the engine fails: a database that refuses commits, coordinators
//! that crash, sleep and wake with old work, a JetStream that loses, repeats and forgets, workers that
//! die at every point, models that answer nonsense, people who decide twice and at the wrong time.
//!
//! One thread, one seed, one order of events: what happened once happens again. The world drives the
//! real engine ([`sluice_engine::advance`]) and the real protocol of attempts
//! ([`sluice_engine::attempt`]); around them it models only what the coordinator and the worker do with
//! rows and messages. Faults stop after some minutes of simulated time; then everything must end.

mod agent;
mod breakage;
mod check;
mod claims;
mod coordinator;
mod database;
mod dispatcher;
mod family;
mod faults;
mod gates;
mod intake;
mod item;
mod jetstream;
mod locks;
mod people;
mod report;
mod rng;
mod scenery;
mod sweeper;
mod worker;
mod world;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) use breakage::Breakage;
pub(crate) use report::{Counts, Violation};
pub(crate) use scenery::Scenery;

use world::World;

/// Runs one seed; on a violation runs it again with its trace.
fn run_seed(
    scenery: &Scenery,
    seed: u64,
    breakage: Option<Breakage>,
) -> Result<Counts, Box<Violation>> {
    World::new(scenery, seed, breakage, false).run().map_err(|plain| {
        let traced = World::new(scenery, seed, breakage, true).run();
        traced.err().unwrap_or(plain)
    })
}

/// Runs one seed and hands back all that happened in it.
pub(crate) fn trace_seed(
    scenery: &Scenery,
    seed: u64,
) -> (Vec<String>, Result<Counts, Box<Violation>>) {
    World::new(scenery, seed, None, true).run_traced()
}

/// The first seed that shows a break, if one does.
pub(crate) fn first_violation(
    scenery: &Scenery,
    mut seeds: Range<u64>,
    breakage: Breakage,
) -> Option<Box<Violation>> {
    seeds.find_map(|seed| run_seed(scenery, seed, Some(breakage)).err())
}

/// Runs many seeds on every core. The violation of the lowest seed that was reached wins.
pub(crate) fn run_seeds(
    seeds: Range<u64>,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Counts, Box<Violation>> {
    let scenery = &Scenery::load();
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicBool::new(false);
    let total = Mutex::new((Counts::default(), None::<Box<Violation>>));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut counts = Counts::default();
                let mut violation = None;
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    match run_seed(scenery, seed, None) {
                        Ok(one) => counts.add(&one),
                        Err(found) => {
                            violation = Some(found);
                            failed.store(true, Ordering::Relaxed);
                        }
                    }
                    progress(seed - seeds.start + 1);
                }
                let mut total = total.lock().expect("no thread panics while it holds the lock");
                total.0.add(&counts);
                let found = [total.1.take(), violation].into_iter().flatten();
                total.1 = found.min_by_key(|violation| violation.seed);
            });
        }
    });
    let (counts, violation) = total.into_inner().expect("no thread panicked");
    violation.map_or(Ok(counts), Err)
}
