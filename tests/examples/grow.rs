//! Fills a database with finished runs: copies of those that are there, each under its own name, at its own time
//! within the last year, signed and chained like any other.
//!
//! `cargo run -p sluice-tests --release --example grow -- --database postgres://owner@host/database --runs 1000000`
//! with the secret of its events in `SLUICE_EVENT_SECRET`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::time::Instant;

use sluice_proto::seal::SigningKey;
use sluice_tests::growth::{argument, grow};
use sluice_tests::run;

const DAYS: i64 = 365;

fn main() {
    let database = argument("database").expect("--database names the database, as its owner");
    let runs: usize = argument("runs").expect("--runs says how many").parse().unwrap();
    let secret = std::env::var("SLUICE_EVENT_SECRET").expect("SLUICE_EVENT_SECRET signs events");
    let key = SigningKey::new(secret.as_bytes()).expect("the secret has 32 bytes at least");
    run(async {
        let begun = Instant::now();
        let told = |n: usize| {
            if n.is_multiple_of(50_000) {
                println!("{n} runs after {:.0} s", begun.elapsed().as_secs_f32());
            }
        };
        let grown = grow(&database, &key, runs, DAYS, told).await;
        let seconds = begun.elapsed().as_secs_f32();
        println!("{} runs with {} events in {seconds:.0} s", grown.runs, grown.events);
    });
}
