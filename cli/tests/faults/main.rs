//! Every fault that the people who run this may meet, struck under a load of 300 runs: real processes,
//! real NATS, real PostgreSQL, a TCP link that can be hurt between each pair.
//!
//! `SLUICE_FAULT_SEED` replays the moments of a round, `SLUICE_FAULT` runs only the faults with that text
//! in their name, `SLUICE_FAULT_LONG` lets a coordinator sleep for two minutes instead of seconds, and
//! `SLUICE_BLESS=1` writes `docs/faults.md`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and shows its numbers"
)]

mod check;
mod fault;
mod links;
mod load;
mod member;
mod messages;
mod round;
mod scene;
mod servers;
mod table;

use fault::Fault;
use sluice_tests::run;

#[test]
fn nothing_is_lost_nothing_is_stuck_and_nothing_happens_twice() {
    let seed = number("SLUICE_FAULT_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("SLUICE_FAULT_SEED={seed} replays the moments of this round");
    let filter = std::env::var("SLUICE_FAULT").unwrap_or_default();
    let faults: Vec<Fault> =
        fault::all().into_iter().filter(|fault| fault.name.contains(&filter)).collect();
    assert!(!faults.is_empty(), "no fault has '{filter}' in its name");
    let started = std::time::Instant::now();
    let rows = run(round::run(faults, seed));
    println!("{}\n{} faults in {:?}", table::lines(&rows), rows.len(), started.elapsed());
    let broken: Vec<String> = rows.iter().flat_map(table::Row::complaints).collect();
    assert!(broken.is_empty(), "SLUICE_FAULT_SEED={seed}:\n{}", broken.join("\n"));
    if filter.is_empty() && std::env::var_os("SLUICE_BLESS").is_some() {
        table::write(&rows, seed);
    }
}

#[test]
fn the_published_table_is_that_of_this_suite() {
    table::assert_published(&fault::all());
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}='{text}': {error}")))
}
