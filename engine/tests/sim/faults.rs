//! What goes wrong, and how often. Every seed has faults of its own, so that some seeds are all about
//! one of them.

use super::rng::Rng;
use super::world::{Happening, World};

/// Shares of cases, from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// A message on the network is lost.
    pub(crate) lose: f64,
    /// A message on the network arrives twice.
    pub(crate) repeat: f64,
    /// A message on the network, or a delivery, takes long.
    pub(crate) late: f64,
    /// The database refuses a commit.
    pub(crate) refuse: f64,
    /// The coordinator dies before its commit, or after it and before its answers.
    pub(crate) crash_in_commit: f64,
    /// The coordinator dies between commit and publish, or between publish and mark.
    pub(crate) crash_in_dispatch: f64,
    /// The publisher never hears that a message was stored.
    pub(crate) publish_unanswered: f64,
    /// The worker dies at this very point.
    pub(crate) crash_at_work: f64,
    /// A process stops for a while at this very point, in the middle of what it does.
    pub(crate) fall_asleep: f64,
    /// A state is taken from the cache without a look at the row.
    pub(crate) stale: f64,
    /// Shares of incidents, in the order of [`World::incident`].
    incidents: [f64; 8],
}

impl Weather {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let mut some = |most: f64| if rng.chance(0.5) { rng.share() * most } else { 0.0 };
        Self {
            lose: some(0.3),
            repeat: some(0.3),
            late: some(0.2),
            refuse: some(0.2),
            crash_in_commit: some(0.05),
            crash_in_dispatch: some(0.1),
            publish_unanswered: some(0.2),
            crash_at_work: some(0.05),
            fall_asleep: some(0.03),
            stale: some(0.8),
            incidents: std::array::from_fn(|_| some(0.5)),
        }
    }
}

impl World<'_> {
    /// One of many things goes wrong, then the next one later.
    pub(crate) fn incident(&mut self) {
        if self.calm_since.is_some() {
            return;
        }
        let delay = self.rng.between(200, 8_000);
        self.after(delay, Happening::Incident);
        let which = self.rng.below(self.weather.incidents.len());
        if !self.rng.chance(self.weather.incidents[which]) {
            return;
        }
        let coordinator = self.rng.below(self.coordinators.len());
        let worker = self.rng.below(self.workers.len());
        match which {
            0 => self.crash_coordinator(coordinator),
            1 => self.stop_coordinator(coordinator),
            2 => self.crash_worker(worker),
            3 => self.stop_worker(worker),
            4 => self.lose_stream(),
            5 => {
                self.note(|| "the stream loses messages".to_owned());
                self.counts.count("messages lost after their acknowledgement");
                self.checker.stream_incidents += 1;
                self.stream.lose_some(&mut self.rng);
            }
            6 => {
                self.counts.count("dedupe windows forgotten");
                self.stream.forget_seen();
            }
            _ => self.stream.repeat_some(self.now, &mut self.rng),
        }
    }

    fn stop_coordinator(&mut self, who: usize) {
        let until = self.now + self.rng.between(500, 60_000);
        self.note(|| format!("coordinator {who} stops until {until}"));
        self.counts.count("coordinator pauses");
        self.coordinators[who].process.stopped_until = until;
    }

    fn stop_worker(&mut self, who: usize) {
        let until = self.now + self.rng.between(500, 120_000);
        self.note(|| format!("worker {who} stops until {until}"));
        self.counts.count("worker pauses");
        self.workers[who].process.stopped_until = until;
    }

    /// Between a read and a write of a coordinator.
    pub(crate) fn coordinator_may_sleep(&mut self, who: usize) {
        if self.rng.chance(self.weather.fall_asleep) {
            self.stop_coordinator(who);
        }
    }

    /// Between a question and its answer, or between an answer and what follows.
    pub(crate) fn worker_may_sleep(&mut self, who: usize) {
        if self.rng.chance(self.weather.fall_asleep) {
            self.stop_worker(who);
        }
    }

    pub(crate) fn crash_coordinator(&mut self, who: usize) {
        if self.coordinators[who].process.down {
            return;
        }
        self.note(|| format!("coordinator {who} crashes"));
        self.counts.count("coordinator crashes");
        self.coordinators[who].crash();
        let delay = self.rng.between(100, 20_000);
        self.after(delay, Happening::Restart { coordinator: true, who });
    }

    pub(crate) fn crash_worker(&mut self, who: usize) {
        if self.workers[who].process.down {
            return;
        }
        self.note(|| format!("worker {who} crashes"));
        self.counts.count("worker crashes");
        self.workers[who].crash();
        let delay = self.rng.between(100, 40_000);
        self.after(delay, Happening::Restart { coordinator: false, who });
    }

    fn lose_stream(&mut self) {
        if !self.stream.exists {
            return;
        }
        self.note(|| "the stream is gone".to_owned());
        self.counts.count("streams lost");
        self.checker.stream_incidents += 1;
        self.stream.lose_all();
        let delay = self.rng.between(10, 10_000);
        self.after(delay, Happening::StreamAgain);
    }

    pub(crate) fn stream_again(&mut self) {
        let created = self.stream.created + 1;
        self.note(|| format!("a stream is made anew, {created}"));
        self.stream.make_anew(created);
    }

    /// The faults are over. What they left behind is still under way.
    pub(crate) fn calm(&mut self) {
        self.note(|| "nothing goes wrong any more".to_owned());
        self.weather = Weather::default();
        self.calm_since = Some(self.now);
    }
}
