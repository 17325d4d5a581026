//! The messages of a worker, sent by hand: what an `external` worker in any language does.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_bus::{Bus, Delivery};
use sluice_proto::ids::AgentName;
use sluice_proto::message::{ClaimReply, Command, Refusal, ResultReply};
use sluice_tests::{PATIENCE, World, run};

const ONE_STEP: &str = r#"
name: One step
version: "1.0"
description: One step of an agent that somebody else runs.
steps:
  - id: only
    type: agent_call
    agent: outside
    payload: {n: 1}
    on_success: workflow_complete
error_recovery: {max_retries: 0}
"#;

/// A worker of the test's own for the agent `outside`.
struct Outside {
    bus: Bus,
    agent: AgentName,
    puller: sluice_bus::StepPuller,
}

impl Outside {
    async fn of(world: &World) -> Self {
        let bus = world.connect("worker").await;
        let agent = AgentName::parse("outside").unwrap();
        bus.ensure_step_consumers(std::slice::from_ref(&agent)).await.unwrap();
        let puller = bus.step_puller(&agent);
        Self { bus, agent, puller }
    }

    async fn next(&mut self) -> (Command, Delivery) {
        let delivery = self.puller.next(1, PATIENCE).await.unwrap().pop().expect("no command came");
        (serde_json::from_slice(&delivery.payload).unwrap(), delivery)
    }

    async fn claim(&self, command: &Command, fence: u64, worker: &str) -> ClaimReply {
        let body =
            json!({"v": 1, "command_id": command.command_id, "fence": fence, "worker_id": worker});
        self.ask(self.bus.subjects().claim(&self.agent, &command.workflow_id), &body).await
    }

    async fn report(&self, command: &Command, fence: u64, result: Value) -> ResultReply {
        let now = "2031-03-04T05:06:07Z";
        let mut body = json!({
            "v": 1, "command_id": command.command_id, "workflow_id": command.workflow_id, "fence": fence,
            "worker_id": "w", "started_at": now, "finished_at": now,
        });
        body.as_object_mut().unwrap().extend(result.as_object().unwrap().clone());
        self.ask(self.bus.subjects().result(&self.agent, &command.workflow_id), &body).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, subject: String, body: &Value) -> T {
        let reply =
            self.bus.request(subject, body.to_string(), Duration::from_secs(5)).await.unwrap();
        serde_json::from_slice(&reply).unwrap()
    }
}

async fn world(effects: bool) -> World {
    let agents = format!("agents:\n  outside:\n    runtime: external\n    effects: {effects}\n");
    World::builder().template("one", ONE_STEP).agents(&agents).workers(0).start().await
}

#[test]
fn a_result_is_recorded_once() {
    run(async {
        let world = world(false).await;
        let mut outside = Outside::of(&world).await;
        let id = world.execute("one", json!({})).await;
        let (command, delivery) = outside.next().await;
        assert_eq!(command.payload, json!({"n": 1}));
        let ok = json!({"status": "ok", "output": {"a": 1}});
        assert_eq!(outside.report(&command, 7, ok.clone()).await, refused(Refusal::StaleFence));
        assert_eq!(
            outside.report(&command, command.fence, ok.clone()).await,
            ResultReply::Recorded
        );
        assert_eq!(
            outside.report(&command, command.fence, ok).await,
            refused(Refusal::NotOutstanding)
        );
        delivery.ack().await.unwrap();
        let state = world.wait_for(&id, "completed").await;
        assert_eq!(state["outputs"]["only"], json!({"a": 1}));
        world.stop().await;
    });
}

#[test]
fn an_effectful_attempt_is_claimed_by_one_worker() {
    run(async {
        let world = world(true).await;
        let mut outside = Outside::of(&world).await;
        let id = world.execute("one", json!({})).await;
        let (command, delivery) = outside.next().await;
        assert!(command.claim);
        let ok = json!({"status": "ok", "output": {"a": 1}});
        assert_eq!(
            outside.report(&command, command.fence, ok.clone()).await,
            refused(Refusal::NotClaimed)
        );
        let ClaimReply::Granted { fence, .. } = outside.claim(&command, command.fence, "w").await
        else {
            panic!("the claim was refused");
        };
        // The reply may be lost: the same worker asks again and gets the same answer.
        let ClaimReply::Granted { fence: again, .. } =
            outside.claim(&command, command.fence, "w").await
        else {
            panic!("the repeated claim was refused");
        };
        assert_eq!(fence, again);
        let other = outside.claim(&command, command.fence, "other").await;
        assert_eq!(other, ClaimReply::Refused { reason: Refusal::HeldByAnother });
        assert_eq!(
            outside.report(&command, command.fence, ok.clone()).await,
            refused(Refusal::StaleFence)
        );
        assert_eq!(outside.report(&command, fence, ok).await, ResultReply::Recorded);
        delivery.ack().await.unwrap();
        world.wait_for(&id, "completed").await;
        world.stop().await;
    });
}

#[test]
fn a_claimed_attempt_of_a_vanished_worker_is_interrupted_and_never_dispatched_again() {
    run(async {
        let world = world(true).await;
        let mut outside = Outside::of(&world).await;
        let id = world.execute("one", json!({})).await;
        let (command, _delivery) = outside.next().await;
        assert!(matches!(
            outside.claim(&command, command.fence, "w").await,
            ClaimReply::Granted { .. }
        ));
        let state = world.wait_for(&id, "failed").await;
        assert_eq!(state["failure_reason"], "interrupted");
        assert_eq!(state["failed_step"], "only");
        world.stop().await;
    });
}

#[test]
fn one_poisoned_result_in_a_batch_of_200_fails_alone() {
    run(async {
        let world = world(false).await;
        let mut outside = Outside::of(&world).await;
        let starts = (0..201).map(|_| world.execute("one", json!({})));
        let ids = futures::future::join_all(starts).await;
        let mut commands = Vec::new();
        while commands.len() < ids.len() {
            commands.push(outside.next().await);
        }
        // The text of an error is stored in a column that takes no NUL.
        let poison = json!({"status": "error", "error": {"code": "boom", "message": "a\u{0}b"}});
        let reports = commands.iter().enumerate().map(|(n, (command, _))| {
            let good = json!({"status": "ok", "output": {"n": n}});
            outside.report(command, command.fence, if n == 100 { poison.clone() } else { good })
        });
        let replies = futures::future::join_all(reports).await;
        assert!(replies.iter().all(|reply| *reply == ResultReply::Recorded));
        let poisoned = commands[100].0.workflow_id.to_string();
        assert_eq!(world.wait_for(&poisoned, "failed").await["failure_reason"], "bad_output");
        for id in ids.iter().filter(|id| **id != poisoned) {
            world.wait_for(id, "completed").await;
        }
        world.stop().await;
    });
}

fn refused(reason: Refusal) -> ResultReply {
    ResultReply::Refused { reason }
}
