//! The seeded simulation of the core: thousands of worlds in which everything fails, and worlds with a
//! broken protocol, in which the simulation must notice.

#[path = "sim/mod.rs"]
mod simulation;

use std::io::Write;
use std::ops::Range;

use simulation::{Breakage, Scenery, first_violation, run_seeds, trace_seed};

/// Seeds of the unbroken protocol; the example `sim` runs many more.
const SEEDS: Range<u64> = 0..3_000;
/// Seeds within which every break must show.
const BREAK_SEEDS: Range<u64> = 0..1_000;

#[test]
fn the_protocol_keeps_its_promises() {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    tell(&format!("simulating seeds {} to {}", SEEDS.start, SEEDS.end - 1));
    match run_seeds(SEEDS, threads, &|_| {}) {
        Ok(counts) => {
            assert_eq!(counts.executions_per_claim(), Some(1.0));
            tell(&format!("{counts}"));
        }
        Err(violation) => panic!("\n{violation}"),
    }
}

#[test]
fn every_break_shows() {
    let scenery = Scenery::load();
    tell(&format!("breaking seeds {} to {}", BREAK_SEEDS.start, BREAK_SEEDS.end - 1));
    for breakage in Breakage::ALL {
        let Some(violation) = first_violation(&scenery, BREAK_SEEDS, breakage) else {
            panic!("{breakage:?} goes unnoticed in seeds {BREAK_SEEDS:?}");
        };
        tell(&format!("{breakage:?}: seed {}, {}", violation.seed, violation.what));
    }
}

#[test]
fn a_seed_happens_the_same_way_every_time() {
    let scenery = Scenery::load();
    let (first, second) = (trace_seed(&scenery, 7).0, trace_seed(&scenery, 7).0);
    assert!(first == second && !first.is_empty());
}

/// Past the capture of the test harness: the seeds of a run that went well are worth knowing too.
fn tell(line: &str) {
    // Nobody reads it if it cannot be written.
    let _ = writeln!(std::io::stderr(), "{line}");
}
