//! The numbers as JSON and as Markdown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::counts::Process;
use crate::drive::{Counted, Load};
use crate::machine::Machine;
use crate::recovery::Recovery;

const THOUSAND: f64 = 1_000.0;
const MIB: f64 = 1_048_576.0;

/// Everything that one call has measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Why it ends early, if it does.
    pub(crate) incomplete: Option<String>,
    /// Its numbers mean nothing.
    pub(crate) quick: bool,
    pub(crate) latency: Vec<Latency>,
    pub(crate) throughput: Vec<Throughput>,
    pub(crate) recovery: Vec<Recovery>,
}

/// Runs one at a time, from the request to the end.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) load: &'static str,
    pub(crate) runs: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Many runs at once. Everything but the rates is per 1,000 steps.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Throughput {
    pub(crate) load: &'static str,
    pub(crate) in_flight: usize,
    pub(crate) seconds: f64,
    pub(crate) runs: u64,
    /// Requests that were refused, since the coordinator was behind, and made again.
    pub(crate) refused: u64,
    pub(crate) runs_per_second: f64,
    pub(crate) steps_per_second: f64,
    /// Lowest and highest of the repetitions.
    pub(crate) steps_per_second_range: (f64, f64),
    pub(crate) cpu_seconds: BTreeMap<Process, f64>,
    pub(crate) cpu_seconds_sum: f64,
    pub(crate) wal_bytes: f64,
    pub(crate) full_page_images: f64,
    pub(crate) transactions: f64,
    /// Since the processes were started.
    pub(crate) peak_rss_mib: BTreeMap<Process, f64>,
    /// What neither Sluice nor its servers nor the driver used, of the whole machine.
    pub(crate) foreign_cpu_percent: f64,
}

impl Latency {
    pub(crate) fn of(load: &'static str, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            // The nearest rank: the smallest value that so many of all do not exceed.
            let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
            times.get(rank).copied().unwrap_or_default().as_secs_f64() * THOUSAND
        };
        Self { load, runs: times.len(), p50_ms: at(50), p99_ms: at(99) }
    }
}

impl Throughput {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit into 52 bits")]
    pub(crate) fn of(load: Load, in_flight: usize, counted: &Counted) -> Self {
        let Counted { runs, refused, before, after } = counted;
        let seconds = (after.at - before.at).as_secs_f64();
        let steps = *runs as f64 * load.steps() as f64;
        let per_thousand = |from: f64, to: f64| (to - from) / (steps / THOUSAND);
        let cpu: BTreeMap<Process, f64> = after
            .cpu_seconds
            .iter()
            .map(|(process, used)| (*process, used - before.cpu_seconds[process]))
            .collect();
        let used: f64 = cpu.values().sum();
        let machine = after.machine_cpu_seconds - before.machine_cpu_seconds;
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        Self {
            load: load.name(),
            in_flight,
            seconds,
            runs: *runs,
            refused: *refused,
            runs_per_second: *runs as f64 / seconds,
            steps_per_second: steps / seconds,
            steps_per_second_range: (steps / seconds, steps / seconds),
            cpu_seconds: cpu.iter().map(|(p, used)| (*p, per_thousand(0.0, *used))).collect(),
            cpu_seconds_sum: per_thousand(0.0, used),
            wal_bytes: per_thousand(before.wal_bytes, after.wal_bytes),
            full_page_images: per_thousand(before.full_page_images, after.full_page_images),
            transactions: per_thousand(before.transactions, after.transactions),
            peak_rss_mib: after
                .peak_rss_bytes
                .iter()
                .map(|(process, bytes)| (*process, *bytes as f64 / MIB))
                .collect(),
            foreign_cpu_percent: (machine - used) / (seconds * cores) * 100.0,
        }
    }

    /// The round in the middle, with the range of all.
    pub(crate) fn median(mut rounds: Vec<Self>) -> Self {
        rounds.sort_by(|a, b| a.steps_per_second.total_cmp(&b.steps_per_second));
        let range = (rounds[0].steps_per_second, rounds[rounds.len() - 1].steps_per_second);
        let middle = rounds.swap_remove(rounds.len() / 2);
        Self { steps_per_second_range: range, ..middle }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load, runs, p50_ms, p99_ms } = self;
        write!(f, "{load}, one at a time: p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, {runs} runs")
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} in flight: {:.0} steps/s; per 1,000 steps {:.3} CPU s, {:.0} KB WAL, {:.1} transactions; others used {:.1} % of the machine",
            self.load,
            self.in_flight,
            self.steps_per_second,
            self.cpu_seconds_sum,
            self.wal_bytes / THOUSAND,
            self.transactions,
            self.foreign_cpu_percent,
        )
    }
}

impl Report {
    pub(crate) fn new(machine: Machine, quick: bool) -> Self {
        Self {
            machine,
            incomplete: None,
            quick,
            latency: Vec::new(),
            throughput: Vec::new(),
            recovery: Vec::new(),
        }
    }

    /// Writes both files and gives their names.
    pub(crate) fn write(&self, out: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        let files = (out.join("bench.json"), out.join("bench.md"));
        let json = serde_json::to_string_pretty(self)?;
        for (file, text) in [(&files.0, json), (&files.1, self.markdown())] {
            std::fs::write(file, text + "\n")
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(files)
    }

    pub(crate) fn markdown(&self) -> String {
        let machine = &self.machine;
        let settings: Vec<String> =
            machine.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut text = format!(
            "{}{}{} cores ({}), {} MiB, Linux {}; Sluice {} ({} build), NATS {}, PostgreSQL {}; {}.\n",
            self.incomplete
                .as_ref()
                .map_or_else(String::new, |why| format!("Incomplete: {why}\n\n")),
            if self.quick { "A quick look: these numbers mean nothing.\n\n" } else { "" },
            machine.cores,
            machine.processor,
            machine.memory_mib,
            machine.kernel,
            machine.sluice,
            machine.build,
            machine.nats,
            machine.postgres,
            settings.join(", "),
        );
        text += "\n| one at a time | runs | p50, ms | p99, ms |\n|---|---|---|---|\n";
        for Latency { load, runs, p50_ms, p99_ms } in &self.latency {
            text += &format!("| {load} | {runs} | {p50_ms:.1} | {p99_ms:.1} |\n");
        }
        text += "\n| load | in flight | steps/s (range) | CPU s: coordinator | worker | NATS | PostgreSQL | driver | sum | WAL, KB | full-page images | transactions | peak MiB: coordinator | worker | others' CPU, % |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
        for row in &self.throughput {
            let (low, high) = row.steps_per_second_range;
            let cpu = [
                Process::Coordinator,
                Process::Worker,
                Process::Nats,
                Process::Postgres,
                Process::Driver,
            ]
            .map(|process| format!("{:.3}", row.cpu_seconds[&process]));
            text += &format!(
                "| {} | {} | {:.0} ({low:.0}-{high:.0}) | {} | {:.3} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} |\n",
                row.load,
                row.in_flight,
                row.steps_per_second,
                cpu.join(" | "),
                row.cpu_seconds_sum,
                row.wal_bytes / THOUSAND,
                row.full_page_images,
                row.transactions,
                row.peak_rss_mib[&Process::Coordinator],
                row.peak_rss_mib[&Process::Worker],
                row.foreign_cpu_percent,
            );
        }
        text += "\nCPU, WAL and transactions are per 1,000 steps.\n";
        text += "\n| killed | runs in flight | all ended after, s | calls repeated | runs not completed |\n|---|---|---|---|---|\n";
        for Recovery {
            killed,
            in_flight,
            seconds,
            seconds_range: (low, high),
            repeated_calls,
            not_completed,
        } in &self.recovery
        {
            text += &format!(
                "| {killed} | {in_flight} | {seconds:.2} ({low:.2}-{high:.2}) | {repeated_calls} | {not_completed} |\n"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times = (1..=200).map(Duration::from_millis).collect();
        let latency = Latency::of("chain", times);
        assert!((latency.p50_ms - 100.0).abs() < 1e-9, "{latency}");
        assert!((latency.p99_ms - 198.0).abs() < 1e-9, "{latency}");
        let one = Latency::of("chain", vec![Duration::from_millis(7)]);
        assert!((one.p99_ms - 7.0).abs() < 1e-9, "{one}");
    }
}
