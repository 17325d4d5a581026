//! Counters of the gateway itself, as Prometheus text. Labels are route templates, never ids: their
//! number must not grow with the number of runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answered: Mutex<BTreeMap<Answered, Total>>,
    under_way: AtomicUsize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answered {
    pub(crate) method: &'static str,
    pub(crate) route: String,
    pub(crate) status: u16,
}

#[derive(Debug, Default)]
struct Total {
    requests: u64,
    seconds: f64,
}

impl Metrics {
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    pub(crate) fn count(&self, answered: Answered, took: Duration) {
        let mut all = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let total = all.entry(answered).or_default();
        total.requests += 1;
        total.seconds += took.as_secs_f64();
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write_answered(&mut text);
        let under_way = self.under_way.load(Ordering::Relaxed);
        family(&mut text, "sluice_gateway_requests_in_flight", "gauge", "Requests under way.");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "sluice_gateway_requests_in_flight {under_way}");
        text
    }

    fn write_answered(&self, text: &mut String) {
        let all = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        family(text, "sluice_gateway_requests_total", "counter", "Requests answered.");
        for (key, total) in all.iter() {
            let _ = writeln!(
                text,
                "sluice_gateway_requests_total{{{}}} {}",
                key.labels(),
                total.requests
            );
        }
        family(
            text,
            "sluice_gateway_request_seconds_total",
            "counter",
            "Time spent answering requests.",
        );
        for (key, total) in all.iter() {
            let _ = writeln!(
                text,
                "sluice_gateway_request_seconds_total{{{}}} {:.6}",
                key.labels(),
                total.seconds
            );
        }
    }
}

impl Answered {
    fn labels(&self) -> String {
        format!(r#"method="{}",route="{}",status="{}""#, self.method, self.route, self.status)
    }
}

/// Writes the two comment lines of a metric.
pub(crate) fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// A request under way; counted until it is dropped, also when its client goes away.
pub(crate) struct UnderWay<'a>(&'a Metrics);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
