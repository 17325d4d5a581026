//! The long form of the simulation: `cargo run -p sluice-engine --release --example sim -- --seeds 100000`,
//! or `--seed 17` for one seed with all that happened in it.

#![expect(clippy::print_stdout, reason = "a program that reports")]

#[path = "../tests/sim/mod.rs"]
mod simulation;

use std::process::ExitCode;

use simulation::{Breakage, Scenery, first_violation, run_seeds, trace_seed};

const USAGE: &str = "usage: sim --seed N | --breaks N | [--seeds N] [--from N] [--threads N]";

fn main() -> ExitCode {
    let mut seeds = 10_000;
    let mut from = 0;
    let mut threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let Some(value) = arguments.next().and_then(|value| value.parse::<u64>().ok()) else {
            println!("{USAGE}");
            return ExitCode::from(2);
        };
        match name.as_str() {
            "--seed" => return one(value),
            "--breaks" => return breaks(value),
            "--seeds" => seeds = value,
            "--from" => from = value,
            "--threads" => threads = usize::try_from(value).unwrap_or(1).max(1),
            _ => {
                println!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    many(from, seeds, threads)
}

fn one(seed: u64) -> ExitCode {
    let (trace, result) = trace_seed(&Scenery::load(), seed);
    for line in trace {
        println!("{line}");
    }
    match result {
        Ok(counts) => {
            println!("seed {seed} keeps every promise\n{counts}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("seed {seed}, at {} ms: {}", violation.at_ms, violation.what);
            ExitCode::FAILURE
        }
    }
}

/// How soon each break of the protocol shows.
fn breaks(seeds: u64) -> ExitCode {
    let scenery = Scenery::load();
    for breakage in Breakage::ALL {
        match first_violation(&scenery, 0..seeds, breakage) {
            Some(violation) => {
                println!("{breakage:?}: seed {}, {}", violation.seed, violation.what)
            }
            None => println!("{breakage:?} goes unnoticed"),
        }
    }
    ExitCode::SUCCESS
}

fn many(from: u64, seeds: u64, threads: usize) -> ExitCode {
    let every = (seeds / 20).max(1);
    let progress = |done: u64| {
        if done.is_multiple_of(every) {
            println!("{done} of {seeds} seeds");
        }
    };
    match run_seeds(from..from + seeds, threads, &progress) {
        Ok(counts) => {
            println!("seeds {from} to {}:\n{counts}", from + seeds - 1);
            let once = counts.executions_per_claim().is_none_or(|ratio| (ratio - 1.0).abs() < 1e-9);
            if once { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}
