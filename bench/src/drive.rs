//! Starts runs, and hears of their ends from the feed of events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use serde_json::json;
use sluice_bus::{ApiCallError, Bus};
use sluice_proto::api::verb;
use sluice_proto::error::ErrorCode;
use tokio::sync::oneshot;

use crate::counts::Snapshot;
use crate::site::Site;

/// Agents, and what is said of them.
pub(crate) const AGENTS: [(&str, &str); 3] = [
    ("noop", "effects: false"),
    ("claimed", "effects: true, idempotent: true"),
    (COUNTED, "effects: false"),
];
/// The agent of which the calls are counted.
pub(crate) const COUNTED: &str = "counted";
/// How long the load runs before it is measured.
const SETTLING: Duration = Duration::from_secs(3);
/// Longest wait for processes to come up, and for a run to end.
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(50);
const API_TIMEOUT: Duration = Duration::from_secs(10);
/// Steps of a chain, and branches of a fan.
const CHAIN: usize = 5;
const FAN: usize = 10;

/// What the runs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Five steps, one after the other, of an agent without effects.
    Chain,
    /// The same of an agent that is called only under a claim.
    ClaimedChain,
    /// Ten branches of one step.
    Fan,
    /// A chain whose calls are counted, to see which were repeated.
    CountedChain,
}

impl Load {
    pub(crate) const ALL: [Self; 4] =
        [Self::Chain, Self::ClaimedChain, Self::Fan, Self::CountedChain];
    /// Those whose speed is asked for.
    pub(crate) const MEASURED: [Self; 3] = [Self::Chain, Self::ClaimedChain, Self::Fan];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::ClaimedChain => "claimed-chain",
            Self::Fan => "fan",
            Self::CountedChain => "counted-chain",
        }
    }

    /// Executions of agents in one run.
    pub(crate) fn steps(self) -> usize {
        match self {
            Self::Chain | Self::ClaimedChain | Self::CountedChain => CHAIN,
            Self::Fan => FAN,
        }
    }

    pub(crate) fn template(self) -> String {
        let head = format!(
            "name: {0}\nversion: '1.0'\ndescription: What is measured.\nsteps:\n",
            self.name()
        );
        match self {
            Self::Chain => head + &chain("noop"),
            Self::ClaimedChain => head + &chain("claimed"),
            Self::CountedChain => head + &chain(COUNTED),
            Self::Fan => {
                let branches = (0..FAN)
                    .map(|n| format!("      b{n}: [{{id: do, type: agent_call, agent: noop}}]\n"));
                format!(
                    "{head}  - id: fan\n    type: parallel\n    branches:\n{}    on_success: workflow_complete\n",
                    branches.collect::<String>()
                )
            }
        }
    }
}

fn chain(agent: &str) -> String {
    (1..=CHAIN)
        .map(|n| {
            let next =
                if n == CHAIN { "workflow_complete".to_owned() } else { format!("s{}", n + 1) };
            format!("  - {{id: s{n}, type: agent_call, agent: {agent}, on_success: {next}}}\n")
        })
        .collect()
}

type Waiting = Mutex<HashMap<String, oneshot::Sender<()>>>;

/// What was counted between two moments.
pub(crate) struct Counted {
    pub(crate) runs: u64,
    /// Requests that had to be made again since the coordinator said that it is behind.
    pub(crate) refused: u64,
    pub(crate) before: Snapshot,
    pub(crate) after: Snapshot,
}

pub(crate) struct Driver {
    bus: Bus,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    refused: AtomicU64,
}

impl Driver {
    pub(crate) async fn new(bus: &Bus) -> anyhow::Result<Self> {
        let every = bus.subjects().all_events();
        let ends = format!("{}*.*.complete_workflow", every.trim_end_matches('>'));
        let mut heard = bus.subscribe(ends).await?;
        let waiting: Arc<Waiting> = Arc::default();
        let told = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(message) = heard.next().await {
                let id = message.subject.rsplit('.').nth(1).unwrap_or_default();
                let waiter = told.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
                // Nobody waits for it any more.
                let _ = waiter.map(|waiter| waiter.send(()));
            }
        });
        Ok(Self { bus: bus.clone(), waiting, next: AtomicU64::new(1), refused: AtomicU64::new(0) })
    }

    /// Waits until coordinator and worker carry out runs.
    pub(crate) async fn warm_up(&self, site: &mut Site) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            site.assert_alive()?;
            match self.one(Load::Chain).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    /// Carries out one run.
    pub(crate) async fn one(&self, load: Load) -> anyhow::Result<()> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{n}", load.name());
        let (told, end) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), told);
        let ended = self.begun_and_ended(load, &id, end).await;
        if ended.is_err() {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }
        ended
    }

    async fn begun_and_ended(
        &self,
        load: Load,
        id: &str,
        end: oneshot::Receiver<()>,
    ) -> anyhow::Result<()> {
        let body = json!({"template_name": load.name(), "context": {}, "workflow_id": id});
        let until = Instant::now() + PATIENCE;
        loop {
            match self.bus.api(verb::WORKFLOW_EXECUTE, &body, None, API_TIMEOUT).await {
                Ok(_) => break,
                Err(ApiCallError::Refused(refusal)) if refusal.code == ErrorCode::Overloaded => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    anyhow::ensure!(Instant::now() < until, "{id} was refused for {PATIENCE:?}");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(ApiCallError::Refused(refusal)) => anyhow::bail!("{id}: {refusal}"),
                Err(other) => return Err(other.into()),
            }
        }
        let ended = tokio::time::timeout(PATIENCE, end).await;
        ended.with_context(|| format!("{id} did not end in {PATIENCE:?}"))??;
        Ok(())
    }

    /// How long each of `runs` took from the request to its end.
    pub(crate) async fn one_at_a_time(
        &self,
        load: Load,
        runs: usize,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(runs);
        // The first few fill caches.
        for n in 0..runs + runs / 10 {
            let begun = Instant::now();
            self.one(load).await?;
            if n >= runs / 10 {
                times.push(begun.elapsed());
            }
        }
        Ok(times)
    }

    /// Keeps `in_flight` runs going for a while and counts what ends in `window`.
    pub(crate) async fn keep_in_flight(
        &self,
        load: Load,
        in_flight: usize,
        window: Duration,
        site: &Site,
    ) -> anyhow::Result<Counted> {
        let (ended, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let refused = self.refused.load(Ordering::Relaxed);
        let one_after_the_other = async |lane: usize| {
            // Not all at once: they would go on in step.
            #[expect(clippy::cast_precision_loss, reason = "lanes are few")]
            tokio::time::sleep(SETTLING.mul_f64(lane as f64 / in_flight as f64)).await;
            while !is_over.load(Ordering::Relaxed) {
                self.one(load).await?;
                ended.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        };
        let lanes = futures::future::try_join_all((0..in_flight).map(one_after_the_other));
        let counting = async {
            tokio::time::sleep(SETTLING).await;
            // Until each lane has been round twice, on the average.
            while ended.load(Ordering::Relaxed) < 2 * in_flight as u64 {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            let (first, before) = (ended.load(Ordering::Relaxed), site.snapshot().await?);
            tokio::time::sleep(window).await;
            let (last, after) = (ended.load(Ordering::Relaxed), site.snapshot().await?);
            is_over.store(true, Ordering::Relaxed);
            anyhow::ensure!(last > first, "no run ended in {window:?}: take a longer --seconds");
            let refused = self.refused.load(Ordering::Relaxed) - refused;
            anyhow::Ok(Counted { runs: last - first, refused, before, after })
        };
        let (_, counted) = futures::try_join!(lanes, counting)?;
        let failed = site.runs_not_completed(load).await?;
        anyhow::ensure!(failed == 0, "{failed} runs of {} did not end well", load.name());
        Ok(counted)
    }
}
