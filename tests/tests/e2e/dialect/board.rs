//! Where every run of a world stands, read once for all who wait.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::{PATIENCE, World};
use sqlx::PgPool;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Runs that are being started at once: the first of a template has it parsed, which takes a while here.
const STARTS: usize = 2;

/// Status and number of events of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Standing {
    pub(super) status: String,
    pub(super) sequence: i64,
}

impl Standing {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "rolled_back" | "cancelled")
    }
}

/// Asks again while a busy machine has a coordinator say that its database does not answer: nothing was
/// changed then, and that is what everybody is told to do.
pub(super) async fn answered(ask: impl AsyncFn() -> (u16, Value)) -> (u16, Value) {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            (503, _) if Instant::now() < until => tokio::time::sleep(LOOK).await,
            answer => return answer,
        }
    }
}

/// The standings, kept up to date.
pub(super) struct Board {
    starting: Semaphore,
    standings: watch::Receiver<HashMap<String, Standing>>,
    _reader: AbortOnDropHandle<()>,
}

impl Board {
    pub(super) fn start(pool: PgPool) -> Self {
        let (sender, standings) = watch::channel(HashMap::new());
        let reader = tokio::spawn(async move {
            loop {
                let rows: Vec<(String, String, i64)> =
                    sqlx::query_as("select workflow_id, status, sequence from runs")
                        .fetch_all(&pool)
                        .await
                        .unwrap();
                let rows = rows
                    .into_iter()
                    .map(|(id, status, sequence)| (id, Standing { status, sequence }));
                sender.send_replace(rows.collect());
                tokio::time::sleep(LOOK).await;
            }
        });
        Self {
            starting: Semaphore::new(STARTS),
            standings,
            _reader: AbortOnDropHandle::new(reader),
        }
    }

    /// Starts a run.
    pub(super) async fn begin(&self, world: &World, template: &str, context: &Value) -> String {
        let _turn = self.starting.acquire().await.unwrap();
        let body = json!({"template_name": template, "context": context});
        let (status, started) =
            answered(async || world.post("/workflow/execute", &body).await).await;
        assert_eq!(status, 200, "{template}: {started}");
        started["workflow_id"].as_str().unwrap().to_owned()
    }

    /// Waits until the run stands as wanted; the last standing is the error when it does not come.
    pub(super) async fn wait(
        &self,
        id: &str,
        wanted: impl Fn(&Standing) -> bool,
    ) -> Result<Standing, Standing> {
        let mut standings = self.standings.clone();
        let reached = standings.wait_for(|all| all.get(id).is_some_and(&wanted));
        let reached =
            tokio::time::timeout(PATIENCE, reached).await.map(|all| all.unwrap()[id].clone());
        reached.map_err(|_| self.standings.borrow().get(id).cloned().unwrap_or_default())
    }
}
