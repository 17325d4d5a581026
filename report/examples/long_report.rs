//! What a report of so many events costs: `cargo run --release -p sluice-report --example long_report -- 5000 FILE`.

#![expect(clippy::unwrap_used, reason = "an example that cannot go on must stop")]
#![expect(clippy::print_stdout, reason = "it prints what it has measured")]

#[path = "../tests/record/mod.rs"]
mod record;

fn main() {
    let mut args = std::env::args().skip(1);
    let events = args.next().map_or(5_000, |text| text.parse().unwrap());
    let file = args.next().unwrap_or_else(|| "long_report.pdf".to_owned());
    let (exported, verification) = record::record(events);
    let begun = std::time::Instant::now();
    let bytes = sluice_report::pdf(&exported, &verification, None).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    std::fs::write(&file, &bytes).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{events} events: {seconds:.1} s, {} bytes in {file}, {peak}", bytes.len());
}
