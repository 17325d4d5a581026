//! What a seed, or many of them, came to.

use std::collections::BTreeMap;
use std::fmt;

/// Executions against attempts that were executed at least once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ratio {
    pub(crate) executions: u64,
    pub(crate) attempts: u64,
}

impl Ratio {
    fn add(&mut self, other: Self) {
        self.executions += other.executions;
        self.attempts += other.attempts;
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "shown with four decimals")]
        let share = self.executions as f64 / (self.attempts.max(1)) as f64;
        write!(f, "{share:.4} ({} of {})", self.executions, self.attempts)
    }
}

/// How the attempts of an agent are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Care {
    ClaimedOnce,
    ClaimedIdempotent,
    Unclaimed,
}

/// Things counted by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) seeds: u64,
    pub(crate) ratios: BTreeMap<Care, Ratio>,
    pub(crate) runs: BTreeMap<&'static str, u64>,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) things: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(crate) fn count(&mut self, thing: &'static str) {
        *self.things.entry(thing).or_default() += 1;
    }

    pub(crate) fn refuse(&mut self, reason: impl fmt::Debug) {
        *self.refusals.entry(format!("{reason:?}")).or_default() += 1;
    }

    /// For agents that must not be called twice; none when there were none.
    #[expect(clippy::cast_precision_loss, reason = "compared with 1")]
    pub(crate) fn executions_per_claim(&self) -> Option<f64> {
        let ratio = self.ratios.get(&Care::ClaimedOnce)?;
        Some(ratio.executions as f64 / ratio.attempts as f64)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        for (care, ratio) in &other.ratios {
            self.ratios.entry(*care).or_default().add(*ratio);
        }
        for (status, n) in &other.runs {
            *self.runs.entry(status).or_default() += n;
        }
        for (reason, n) in &other.refusals {
            *self.refusals.entry(reason.clone()).or_default() += n;
        }
        for (thing, n) in &other.things {
            *self.things.entry(thing).or_default() += n;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, items: Vec<String>| {
            writeln!(f, "  {name:<10} {}", items.join(", "))
        };
        let ratios = self.ratios.iter().map(|(care, ratio)| format!("{care:?} {ratio}"));
        line(f, "executions per attempt", ratios.collect())?;
        line(f, "runs", self.runs.iter().map(|(name, n)| format!("{name} {n}")).collect())?;
        line(f, "refusals", self.refusals.iter().map(|(name, n)| format!("{name} {n}")).collect())?;
        line(f, "things", self.things.iter().map(|(name, n)| format!("{name} {n}")).collect())
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) seed: u64,
    pub(crate) what: String,
    pub(crate) at_ms: u64,
    /// The last things that happened, when the seed was run with a trace.
    pub(crate) trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        let Self { seed, what, at_ms, .. } = self;
        writeln!(f, "seed {seed}, at {at_ms} ms: {what}")?;
        write!(f, "again: cargo run -p sluice-engine --release --example sim -- --seed {seed}")
    }
}
