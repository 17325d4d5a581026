//! Counters, as Prometheus text. Never labelled by run.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($name:ident, $help:literal;)+) => {
        /// Everything this coordinator counts.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $(#[doc = $help] pub(crate) $name: Counter,)+
        }

        impl Metrics {
            /// Prometheus text exposition format, version 0.0.4.
            pub(crate) fn render(&self) -> String {
                let mut text = String::new();
                $(
                    let name = concat!("sluice_", stringify!($name), "_total");
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} counter\n{name} {}", $help, self.$name.value());
                )+
                text
            }
        }
    };
}

counters! {
    batches, "Transactions that applied inputs.";
    inputs, "Inputs applied.";
    events, "Events written.";
    results_recorded, "Results recorded.";
    results_refused, "Results refused as late, repeated or superseded.";
    conflicts, "Batches repeated because another writer was first.";
    poisoned, "Results that PostgreSQL refused.";
    dispatches, "Step commands published.";
    redispatches, "Step commands published again after a loss.";
    given_up, "Attempts given up: lease, time or deliveries exhausted.";
    claims_granted, "Claims granted.";
    claims_refused, "Claims refused.";
    dead_letters, "Messages kept because they could not be processed.";
    runs_repaired, "Runs that waited for nothing and were repaired.";
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
