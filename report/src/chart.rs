//! The Gantt chart: a lane a step and a lock, and bars for what was under way and for what was waited for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::text::{self, moment};

/// Lanes of a chart, and bars of a lane. What is beyond is counted.
const MAX_LANES: usize = 150;
const MAX_BARS: usize = 200;
/// The lane of what concerns the run as a whole.
const RUN: &str = "(the run)";
/// Bars of a lane that are told in words, to those who do not see them.
const MAX_BARS_TOLD: usize = 20;

struct Bar {
    kind: &'static str,
    from: i64,
    to: i64,
}

#[derive(Default)]
struct Chart {
    /// In the order of their first event.
    names: Vec<String>,
    lanes: BTreeMap<String, Vec<Bar>>,
    /// Since when a step is under way.
    entered: BTreeMap<String, i64>,
    /// Since when something is waited for or held, by lane and kind.
    open: BTreeMap<(String, &'static str), i64>,
    has_ended: bool,
}

/// The chart of these events as data: `lanes` with bars in thousandths of the whole, `ticks`, `left_out`. What
/// people wrote about the run later takes no room on it.
pub(crate) fn chart(events: &[Value]) -> Value {
    let shown = || events.iter().filter(|event| event["action"] != "annotate");
    let moments = || shown().filter_map(|event| moment(&event["timestamp"]));
    let (Some(begin), Some(end)) = (moments().min(), moments().max()) else {
        return json!({"lanes": [], "ticks": [], "left_out": 0});
    };
    let mut chart = Chart::default();
    for event in shown() {
        if let Some(at) = moment(&event["timestamp"]) {
            chart.event(event, at);
        }
    }
    chart.close(end);
    chart.drawn(begin, end)
}

impl Chart {
    fn event(&mut self, event: &Value, at: i64) {
        let (step, data) = (event["step_id"].as_str().unwrap_or(RUN), &event["data"]);
        self.has_ended = false;
        match event["action"].as_str().unwrap_or_default() {
            "start_workflow" => self.enter(step, at),
            "record_output" => {
                self.work(step, at, &data["duration_ms"]);
                self.begin(step, "gate", at);
            }
            "complete_step" => {
                if !self.end(step, "gate", at) {
                    self.work(step, at, &data["duration_ms"]);
                }
                self.stop(at, |lane| is_within(lane, step));
                self.leave(step, data, at);
            }
            "fail_step" => self.failed(step, data, at),
            "retry_step" => {
                self.end(step, "diagnosis", at);
                let again = moment(&data["next_retry_at"]).unwrap_or(at).max(at);
                self.bar(step, "retry", at, again);
                match self.open.get_mut(&(step.to_owned(), "gate")) {
                    Some(since) => *since = again,
                    None => self.enter(step, again),
                }
            }
            "rollback_step" => {
                self.bar(step, "rolled back", at, at);
                self.end(step, "undoing", at);
                self.leave(step, &data["compensated"], at);
            }
            "wait_lock" => self.begin(step, "lock wait", at),
            "acquire_lock" => {
                let waited = micros(&data["wait_ms"]);
                if !self.end(step, "lock wait", at) && waited > 0 {
                    self.bar(step, "lock wait", at - waited, at);
                }
                // A step that is to be tried later is not at work before that.
                let since = self.entered.get(step).map_or(at, |&since| since.max(at));
                self.enter(step, since);
                self.begin(&lock(data), "held", at);
            }
            "release_lock" if !self.end(&lock(data), "held", at) => {
                self.bar(&lock(data), "held", at - micros(&data["held_ms"]), at);
            }
            "pause_workflow" => {
                self.entered.remove(step);
                self.begin(step, "approval", at);
            }
            "resume_workflow" => {
                self.end(step, "approval", at);
                self.leave(step, data, at);
            }
            "start_timer" => {
                self.bar(step, "timer", at, moment(&data["until"]).unwrap_or(at));
                self.entered.remove(step);
            }
            "suspend_workflow" => self.begin(RUN, "suspended", at),
            "continue_workflow" => {
                self.end(RUN, "suspended", at);
            }
            "start_child_workflow" => {
                self.entered.remove(step);
                self.begin(&child(event), "child", at);
            }
            "child_workflow_complete" => {
                self.end(&child(event), "child", at);
            }
            "start_branches" => {
                self.entered.remove(step);
                for branch in data["branches"].as_array().into_iter().flatten() {
                    if let Some(first) = branch["next_step"].as_str() {
                        self.enter(first, at);
                    }
                }
            }
            "cancel_workflow" | "expire_workflow" => {
                self.stop(at, |_| true);
                self.bar(RUN, "cancelled", at, at);
                self.leave(step, data, at);
            }
            "complete_workflow" => {
                self.stop(at, |_| true);
                self.has_ended = true;
            }
            _ => {}
        }
    }

    /// A failed attempt, or, when it is for good, whatever else ended there: a wait, the branches below.
    fn failed(&mut self, step: &str, data: &Value, at: i64) {
        let gate = self.open.get(&(step.to_owned(), "gate")).copied();
        let since = gate.or_else(|| self.entered.remove(step));
        if let Some(since) = since.filter(|since| *since < at) {
            self.bar(step, "failed", since, at);
        }
        if !data["diagnosed_by"].is_null() {
            self.begin(step, "diagnosis", at);
        }
        if data["final"] != true {
            return;
        }
        // What undoes a step has a path of its own below it.
        let undone =
            step.strip_suffix(".undo").filter(|_| step.split('.').count().is_multiple_of(2));
        if let Some(undone) = undone {
            self.end(undone, "undoing", at);
        }
        self.stop(at, |lane| lane == step || is_within(lane, step));
        if data["compensates"] == true {
            self.begin(step, "undoing", at);
        } else {
            self.leave(step, data, at);
        }
    }

    fn enter(&mut self, step: &str, at: i64) {
        self.entered.insert(step.to_owned(), at);
    }

    fn begin(&mut self, lane: &str, kind: &'static str, at: i64) {
        self.lane(lane);
        self.open.entry((lane.to_owned(), kind)).or_insert(at);
    }

    /// Whether it had begun.
    fn end(&mut self, lane: &str, kind: &'static str, at: i64) -> bool {
        let since = self.open.remove(&(lane.to_owned(), kind));
        if let Some(since) = since {
            self.bar(lane, kind, since, at);
        }
        since.is_some()
    }

    /// Ends what is under way and cuts what was to come. Locks and children have events of their own.
    fn stop(&mut self, at: i64, of: impl Fn(&str) -> bool) {
        let stops =
            |(lane, kind): &&(String, &'static str)| !matches!(*kind, "held" | "child") && of(lane);
        let open: Vec<_> = self.open.keys().filter(stops).cloned().collect();
        for (lane, kind) in open {
            self.end(&lane, kind, at);
        }
        for (_, bars) in self.lanes.iter_mut().filter(|(lane, _)| of(lane)) {
            for bar in bars {
                bar.to = bar.to.min(at.max(bar.from));
            }
        }
        self.entered.retain(|step, _| !of(step));
    }

    /// The time an agent took, and before it the time the attempt waited for a worker. Steps without an agent
    /// have no such time.
    fn work(&mut self, step: &str, at: i64, duration_ms: &Value) {
        let entered = self.entered.remove(step);
        if !duration_ms.is_u64() {
            return;
        }
        let since = at - micros(duration_ms);
        if let Some(entered) = entered.filter(|&entered| entered < since) {
            self.bar(step, "queued", entered, since);
        }
        self.bar(step, "work", since, at);
    }

    fn leave(&mut self, step: &str, next: &Value, at: i64) {
        if let Some(step_after) = next["next_step"].as_str() {
            self.entered.remove(step);
            if next["outcome"].is_null() {
                self.enter(step_after, at);
            }
        }
    }

    fn lane(&mut self, name: &str) -> &mut Vec<Bar> {
        if !self.lanes.contains_key(name) {
            self.names.push(name.to_owned());
        }
        self.lanes.entry(name.to_owned()).or_default()
    }

    fn bar(&mut self, lane: &str, kind: &'static str, from: i64, to: i64) {
        self.lane(lane).push(Bar { kind, from, to: to.max(from) });
    }

    /// What is still under way goes on to the end of the record.
    fn close(&mut self, end: i64) {
        for ((lane, kind), since) in std::mem::take(&mut self.open) {
            self.bar(&lane, kind, since, end);
        }
        if !self.has_ended {
            for (step, since) in std::mem::take(&mut self.entered) {
                self.bar(&step, "queued", since, end);
            }
        }
    }

    fn drawn(&self, begin: i64, end: i64) -> Value {
        let span = (end - begin).max(1);
        let place = |at: i64| ((at - begin) as f64 / span as f64 * 1_000.0).clamp(0.0, 1_000.0);
        let after = |at: i64| text::duration(at.clamp(begin, end) - begin);
        let mut left_out = 0;
        let mut lanes = Vec::new();
        for (n, name) in self.names.iter().enumerate() {
            let bars = &self.lanes[name];
            let shown = if n < MAX_LANES { bars.len().min(MAX_BARS) } else { 0 };
            left_out += bars.len() - shown;
            if n >= MAX_LANES {
                continue;
            }
            let bars = &bars[..shown];
            let drawn: Vec<Value> = bars
                .iter()
                .map(|bar| json!({"kind": bar.kind, "from": place(bar.from), "to": place(bar.to)}))
                .collect();
            let told: Vec<String> = bars
                .iter()
                .take(MAX_BARS_TOLD)
                .map(|bar| format!("{} +{} to +{}", bar.kind, after(bar.from), after(bar.to)))
                .collect();
            let name = text::fit(name, 60);
            let told = format!("{name}: {}", told.join("; "));
            lanes.push(json!({"name": name, "bars": drawn, "told": told}));
        }
        let ticks: Vec<Value> = (0..=4)
            .map(|n| json!({"at": n * 250, "label": format!("+{}", text::duration(span / 4 * n))}))
            .collect();
        json!({"lanes": lanes, "ticks": ticks, "left_out": left_out})
    }
}

fn lock(data: &Value) -> String {
    format!("lock {}", data["resource_lock"].as_str().unwrap_or_default())
}

/// A child that a step waits for has the step's lane; others have their own.
fn child(event: &Value) -> String {
    let id = event["data"]["child_workflow_id"].as_str().unwrap_or_default();
    event["step_id"].as_str().map_or_else(|| format!("child {id}"), str::to_owned)
}

/// Whether the lane is that of a branch of this step, or of something below it.
pub(crate) fn is_within(lane: &str, step: &str) -> bool {
    lane.strip_prefix(step).is_some_and(|rest| rest.starts_with('.'))
}

fn micros(ms: &Value) -> i64 {
    ms.as_i64().unwrap_or(0).clamp(0, 1 << 40) * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: u32, step: &str, action: &str, data: Value) -> Value {
        json!({
            "timestamp": format!("2031-03-04T10:00:{second:02}Z"), "action": action, "step_id": step, "data": data})
    }

    fn bars(chart: &Value, lane: &str) -> Vec<String> {
        let lanes = chart["lanes"].as_array().unwrap();
        let lane = lanes.iter().find(|found| found["name"] == lane);
        let bars = lane.into_iter().flat_map(|lane| lane["bars"].as_array().unwrap());
        bars.map(|bar| format!("{} {}-{}", bar["kind"].as_str().unwrap(), bar["from"], bar["to"]))
            .collect()
    }

    #[test]
    fn waits_retries_locks_and_approvals_have_bars() {
        let events = [
            event(0, "a", "start_workflow", json!({})),
            event(4, "a", "fail_step", json!({"final": false})),
            event(4, "a", "retry_step", json!({"next_retry_at": "2031-03-04T10:00:06Z"})),
            event(7, "a", "wait_lock", json!({"resource_lock": "r"})),
            event(8, "a", "acquire_lock", json!({"resource_lock": "r", "wait_ms": 1_000})),
            event(9, "a", "pause_workflow", json!({})),
            event(10, "a", "resume_workflow", json!({"next_step": "b"})),
            event(59, "a", "annotate", json!({"comment": "much later"})),
        ];
        let chart = chart(&events);
        let expected = [
            "failed 0.0-400.0",
            "retry 400.0-600.0",
            "lock wait 700.0-800.0",
            "approval 900.0-1000.0",
        ];
        assert_eq!(bars(&chart, "a"), expected);
        assert_eq!(bars(&chart, "lock r"), ["held 800.0-1000.0"]);
        assert_eq!(bars(&chart, "b"), ["queued 1000.0-1000.0"], "it is under way");
        let told = chart["lanes"][0]["told"].as_str().unwrap();
        assert!(told.starts_with("a: failed +0 ms to +4.00 s; retry +4.00 s"), "{told}");
    }

    #[test]
    fn an_end_cuts_what_was_to_come_and_ends_what_was_waited_for() {
        let events = [
            event(0, "f", "start_workflow", json!({})),
            event(
                0,
                "f",
                "start_branches",
                json!({"branches": [{"branch": "f.x", "next_step": "f.x.a"},
                {"branch": "f.y", "next_step": "f.y.b"}]}),
            ),
            event(2, "f.x.a", "pause_workflow", json!({})),
            event(2, "f.y.b", "start_timer", json!({"until": "2031-03-04T10:00:50Z"})),
            event(
                5,
                "f",
                "fail_step",
                json!({"final": true, "error_type": "branch_failed", "next_step": "c"}),
            ),
            event(
                8,
                "c",
                "complete_step",
                json!({"duration_ms": 1_000, "next_step": "w", "outcome": {}}),
            ),
            event(10, "c", "complete_workflow", json!({})),
        ];
        let chart = chart(&events);
        assert_eq!(bars(&chart, "f.x.a"), ["approval 200.0-500.0"]);
        assert_eq!(bars(&chart, "f.y.b"), ["timer 200.0-500.0"]);
        assert_eq!(bars(&chart, "c"), ["queued 500.0-700.0", "work 700.0-800.0"]);
        assert_eq!(bars(&chart, "f"), [""; 0], "branches have bars of their own");
    }

    #[test]
    fn undoing_ends_before_the_run_goes_on() {
        let events = [
            event(0, "a", "start_workflow", json!({})),
            event(
                2,
                "a",
                "fail_step",
                json!({"final": true, "compensates": true, "next_step": "b"}),
            ),
            event(
                6,
                "a",
                "rollback_step",
                json!({"by_step": "a", "compensated": {"next_step": "b"}}),
            ),
            event(
                10,
                "b",
                "complete_step",
                json!({"duration_ms": 1_000, "next_step": "w", "outcome": {}}),
            ),
        ];
        let chart = chart(&events);
        let expected = ["failed 0.0-200.0", "rolled back 600.0-600.0", "undoing 200.0-600.0"];
        assert_eq!(bars(&chart, "a"), expected);
        assert_eq!(bars(&chart, "b"), ["queued 600.0-900.0", "work 900.0-1000.0"]);
    }
}
