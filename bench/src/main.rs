//! `sluice-bench`: what a step costs. `bench/README.md` says how to read its numbers.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints what it has measured")]

mod counts;
mod drive;
mod machine;
mod recovery;
mod report;
mod role;
mod site;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use drive::{Driver, Load};
use recovery::Recovery;
use report::{Latency, Report, Throughput};
use role::Role;
use site::Site;

/// Runs that are timed one at a time.
const LATENCY_RUNS: usize = 200;
const QUICK_LATENCY_RUNS: usize = 20;
/// Runs that are under way when a process is killed.
const RECOVERED_RUNS: usize = 200;
const QUICK_RECOVERED_RUNS: usize = 20;

/// Measures throughput, latency and cost of steps, on a NATS and a PostgreSQL of its own.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// Runs in flight, one measurement each
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "50,200,1000")]
    in_flight: Vec<usize>,
    /// Length of one measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    seconds: u64,
    /// Measurements of each kind; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Under a minute, to see that it works: its numbers mean nothing
    #[arg(long)]
    quick: bool,
    /// Folder for results and data
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.role {
        Some(role) => Box::pin(role::run(role)).await,
        None => Box::pin(measure(args)).await,
    }
}

async fn measure(mut args: Args) -> anyhow::Result<()> {
    if args.quick {
        (args.in_flight, args.seconds, args.repeat) = (vec![50], 3, 1);
    }
    anyhow::ensure!(
        args.repeat > 0 && args.seconds > 0 && args.in_flight.iter().all(|n| *n > 0),
        "--in-flight, --seconds and --repeat need numbers from 1"
    );
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    let interrupted = async || -> anyhow::Result<()> {
        tokio::signal::ctrl_c().await?;
        anyhow::bail!("interrupted")
    };
    let mut site = tokio::select! {
        site = Site::start(&args.out) => site?,
        stopped = interrupted() => return stopped,
    };
    let mut report = Report::new(site.machine().await?, args.quick);
    let measured = tokio::select! {
        measured = run(&args, &mut site, &mut report) => measured,
        stopped = interrupted() => stopped,
    };
    if let Err(error) = &measured {
        report.incomplete = Some(error.to_string());
        eprintln!("{}", site.last_words());
    }
    site.stop().await;
    let (json, markdown) = report.write(&args.out)?;
    println!("\n{}\n{} and {}", report.markdown(), json.display(), markdown.display());
    measured
}

async fn run(args: &Args, site: &mut Site, report: &mut Report) -> anyhow::Result<()> {
    let driver = Driver::new(&site.bus).await?;
    driver.warm_up(site).await?;
    let window = Duration::from_secs(args.seconds);
    for load in Load::MEASURED {
        let runs = if args.quick { QUICK_LATENCY_RUNS } else { LATENCY_RUNS };
        let times = driver.one_at_a_time(load, runs).await?;
        let latency = Latency::of(load.name(), times);
        println!("{latency}");
        report.latency.push(latency);
        for &in_flight in &args.in_flight {
            let mut rounds = Vec::with_capacity(args.repeat);
            for _ in 0..args.repeat {
                let counted = driver.keep_in_flight(load, in_flight, window, site).await?;
                let round = Throughput::of(load, in_flight, &counted);
                println!("{round}");
                rounds.push(round);
            }
            report.throughput.push(Throughput::median(rounds));
        }
    }
    let in_flight = if args.quick { QUICK_RECOVERED_RUNS } else { RECOVERED_RUNS };
    for victim in [Role::Worker, Role::Coordinator] {
        let mut rounds = Vec::with_capacity(args.repeat);
        for _ in 0..args.repeat {
            let round = recovery::after_kill(&driver, site, victim, in_flight).await?;
            println!("{round}");
            rounds.push(round);
        }
        report.recovery.push(Recovery::median(rounds));
    }
    Ok(())
}
