//! An installation whose costs are measured: chains of steps that do nothing, runs with all that a record can
//! have, and everybody who looks.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;
use sqlx::PgConnection;

use crate::World;
use crate::agents::Agents;

/// Steps of a chain.
pub const CHAIN_STEPS: usize = 5;

const RICH: &str = r#"
name: Rich
version: "1.0"
description: Fails once, asks a person, holds a lock, and has more than ten events.
steps:
  - {id: review, type: agent_call, agent: helper, on_success: approve}
  - {id: approve, type: hitl_approval, risk_assessment: {type: override, risk_level: medium, approver_role: tech_lead}, on_approved: deploy, on_rejected: workflow_failed}
  - {id: deploy, type: agent_call, agent: helper, resource_lock: "site:{{ context.site }}", on_success: workflow_complete, on_failure: workflow_failed}
error_handling:
  - {step: review, max_retries: 1}
  - {step: deploy, max_retries: 0}
"#;

/// A [`World`] with templates and agents to measure with.
pub struct Site {
    /// It.
    pub world: World,
    /// A run that has ended, made by [`Site::rich_run`].
    pub old: String,
    agents: Agents,
}

fn chain() -> String {
    let step = |n: usize| {
        let next = if n + 1 == CHAIN_STEPS {
            "workflow_complete".to_owned()
        } else {
            format!("step-{}", n + 1)
        };
        format!("  - {{id: step-{n}, type: agent_call, agent: helper, on_success: {next}}}\n")
    };
    let steps: String = (0..CHAIN_STEPS).map(step).collect();
    format!("name: Chain\nversion: \"1.0\"\ndescription: Steps that do nothing.\nsteps:\n{steps}")
}

impl Site {
    /// An installation without coordinators that has seen one run of each kind: what copies are made of.
    pub async fn start() -> Self {
        let agents = Agents::start(|call| match call.step() {
            "review" if call.attempt() == 1 => {
                (503, json!({"error": {"message": "busy", "retryable": true, "retry_after_ms": 1}}))
            }
            "deploy" if call.command["context"]["site"] == "nowhere" => {
                (400, json!({"error": {"message": "no capacity"}}))
            }
            _ => (200, json!({"ok": true, "text": "x".repeat(180)})),
        })
        .await;
        let world = World::builder().template("chain", &chain()).template("rich", RICH);
        let world = world.agents(&agents.yaml(&[("helper", false)])).start().await;
        let mut site = Self { world, old: String::new(), agents };
        site.chains(2, 1).await;
        site.old = site.rich_run("here", "completed").await;
        site.rich_run("nowhere", "failed").await;
        site
    }

    /// So many chains from their start to their end, a number of them at once; how long it took.
    pub async fn chains(&self, runs: usize, at_once: usize) -> Duration {
        let begun = Instant::now();
        let one = async || {
            let id = self.world.execute("chain", json!({})).await;
            self.world.wait_for(&id, "completed").await;
        };
        futures::stream::iter(0..runs).for_each_concurrent(at_once, |_| one()).await;
        begun.elapsed()
    }

    /// Two runs that want one lock; one of them waits for it.
    pub async fn contend(&self) {
        self.agents.hold("deploy");
        let both = async {
            tokio::join!(self.rich_run("there", "completed"), self.rich_run("there", "completed"))
        };
        let waits = async {
            while self.world.get("/locks").await.1["locks"][0]["waiters_count"] != 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.agents.release("deploy");
        };
        tokio::join!(both, waits);
    }

    /// A run with a retry, an approval and a lock.
    pub async fn rich_run(&self, place: &str, end: &str) -> String {
        let id = self.world.execute("rich", json!({"site": place})).await;
        self.world.wait_for(&id, "paused").await;
        let decision = json!({"approval_decision": "approved", "approver": "ada", "approver_role": "tech_lead"});
        let (status, answer) = self.world.resume(&id, decision).await;
        assert_eq!(status, 200, "{answer}");
        self.world.wait_for(&id, end).await;
        id
    }

    /// Asks whatever people ask: lists of every kind, and everything about one run.
    pub async fn look(&self, id: &str) {
        let lists = ["", "?limit=20", "?limit=20&offset=20"];
        let filters = [
            "status=completed",
            "status=failed",
            "status=rolled_back",
            "status=paused",
            "template_name=rich.workflow.yaml",
            "template_name=rare.workflow.yaml",
        ];
        let both = "/workflows?status=failed&template_name=rich.workflow.yaml&limit=20".to_owned();
        let of_run = [
            "",
            "/events",
            "/events?action=complete_step",
            "/verify",
            "/why",
            "/snapshots",
            "/state-at/3",
        ];
        let lists = lists.iter().map(|query| format!("/workflows{query}"));
        let whole = filters.iter().map(|filter| format!("/workflows?{filter}"));
        let pages = filters.iter().map(|filter| format!("/workflows?{filter}&limit=20"));
        let views = of_run.iter().map(|view| format!("/workflow/{id}{view}"));
        let rest = ["/locks", "/breakers", "/workers"].map(str::to_owned);
        for path in lists.chain(whole).chain(pages).chain([both]).chain(views).chain(rest) {
            let (status, answer) = self.world.get(&path).await;
            assert_eq!(status, 200, "{path}: {answer}");
        }
        let (status, replayed) =
            self.world.post(&format!("/workflow/{id}/replay"), &json!({})).await;
        let verdict = (&replayed["matches"], &replayed["signatures_valid"]);
        assert_eq!((status, verdict), (200, (&json!(true), &json!(true))), "{replayed:#}");
    }

    /// Buffers of tables and indexes that were touched so far, by connections that are closed by now. Only of
    /// tables that grow with finished runs: the others are looked at by the clock.
    pub async fn buffers(&self) -> i64 {
        sqlx::query_scalar(
            "select sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0)
                        + coalesce(toast_blks_read + toast_blks_hit, 0)
                        + coalesce(tidx_blks_read + tidx_blks_hit, 0))::bigint
               from pg_statio_user_tables
              where relname in ('approvals', 'locks', 'runs', 'snapshots', 'templates') or relname like 'events%'",
        )
        .fetch_one(&self.world.pool)
        .await
        .unwrap()
    }

    /// Buffers that a step of a chain costs, one step after the other.
    pub async fn buffers_of_a_step(&mut self, runs: usize) -> f64 {
        self.world.stop_coordinators().await;
        let before = self.buffers().await;
        self.world.start_coordinator().await;
        self.chains(runs, 1).await;
        self.world.stop_coordinators().await;
        let buffers = self.buffers().await - before;
        self.world.start_coordinator().await;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let each = buffers as f64 / (runs * CHAIN_STEPS) as f64;
        each
    }

    /// Tables and partitions with more rows than this.
    pub async fn large_tables(&self, connection: &mut PgConnection, rows: i32) -> Vec<String> {
        sqlx::query_scalar("select relname from pg_class where relkind = 'r' and reltuples > $1")
            .bind(rows)
            .fetch_all(connection)
            .await
            .unwrap()
    }
}
