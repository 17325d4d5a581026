//! The coordinator's side of the subjects, reacting as it was told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use serde_json::{Map, Value, json};
use sluice_bus::{Bus, Requests, StepMessage};
use sluice_proto::ids::{AgentName, CommandId};
use sluice_proto::message::{Command, CommandKind};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::SOON;

/// What becomes of one claim, result or heartbeat.
pub(crate) enum Reaction {
    /// An answer nobody can read: as good as none, and sooner.
    Garbage,
    Grant(u64),
    Refuse(&'static str),
}

type Script = Arc<Mutex<VecDeque<Reaction>>>;
type Heard = (String, Value);

pub(crate) struct Coordinator {
    pub(crate) bus: Bus,
    claim_script: Script,
    result_script: Script,
    heartbeat_script: Script,
    claims: UnboundedReceiver<Heard>,
    results: UnboundedReceiver<Heard>,
    heartbeats: UnboundedReceiver<Heard>,
}

impl Coordinator {
    pub(crate) async fn start(bus: Bus) -> Self {
        bus.ensure_topology().await.unwrap();
        let (claim_script, result_script, heartbeat_script) =
            (Script::default(), Script::default(), Script::default());
        let (claimed, claims) = unbounded_channel();
        let (reported, results) = unbounded_channel();
        let (beat, heartbeats) = unbounded_channel();
        let requests = bus.serve(bus.subjects().all_of("claim"), "coordinator").await.unwrap();
        tokio::spawn(answer(requests, Arc::clone(&claim_script), claimed));
        let requests = bus.serve(bus.subjects().all_of("result"), "coordinator").await.unwrap();
        tokio::spawn(answer(requests, Arc::clone(&result_script), reported));
        let requests = bus.serve(bus.subjects().all_of("heartbeat"), "coordinator").await.unwrap();
        tokio::spawn(answer(requests, Arc::clone(&heartbeat_script), beat));
        let mut requests = bus.serve(bus.subjects().burials(), "coordinator").await.unwrap();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                request.respond(json!({"status": "recorded"}).to_string()).await.unwrap();
            }
        });
        let mut requests = bus.serve(bus.subjects().announcements(), "coordinator").await.unwrap();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let welcome = json!({"status": "welcome", "lease_ms": 30_000});
                request.respond(welcome.to_string()).await.unwrap();
            }
        });
        Self { bus, claim_script, result_script, heartbeat_script, claims, results, heartbeats }
    }

    /// Reactions to the next claims; each later one is granted under fence 8.
    pub(crate) fn claims(&self, reactions: impl IntoIterator<Item = Reaction>) {
        self.claim_script.lock().unwrap().extend(reactions);
    }

    /// Reactions to the next results; each later one is recorded.
    pub(crate) fn results(&self, reactions: impl IntoIterator<Item = Reaction>) {
        self.result_script.lock().unwrap().extend(reactions);
    }

    /// Reactions to the next heartbeats; each later one is granted.
    pub(crate) fn heartbeats(&self, reactions: impl IntoIterator<Item = Reaction>) {
        self.heartbeat_script.lock().unwrap().extend(reactions);
    }

    pub(crate) async fn dispatch(&self, command: &Command) {
        let step = StepMessage {
            agent: command.agent.clone(),
            urgent: false,
            message_id: format!("{}:{}", command.command_id, command.dispatch),
            traceparent: None,
            body: serde_json::to_vec(command).unwrap().into(),
        };
        let publishing =
            async { while self.bus.publish_steps(vec![step.clone()]).await[0].is_err() {} };
        tokio::time::timeout(SOON, publishing).await.unwrap();
    }

    pub(crate) async fn next_claim(&mut self) -> Heard {
        tokio::time::timeout(SOON, self.claims.recv()).await.unwrap().unwrap()
    }

    pub(crate) async fn next_result(&mut self) -> Heard {
        tokio::time::timeout(SOON, self.results.recv()).await.unwrap().unwrap()
    }

    pub(crate) async fn next_heartbeat(&mut self) -> Heard {
        tokio::time::timeout(SOON, self.heartbeats.recv()).await.unwrap().unwrap()
    }

    pub(crate) fn no_result_yet(&mut self) -> bool {
        self.results.try_recv().is_err()
    }
}

async fn answer(mut requests: Requests, script: Script, heard: UnboundedSender<Heard>) {
    while let Some(request) = requests.next().await {
        let reaction = script.lock().unwrap().pop_front();
        let is_result = request.subject.contains(".result.");
        let granted = |fence: u64| json!({"status": "granted", "fence": fence, "lease_until": "2031-03-04T05:06:07Z"});
        let reply = match reaction {
            Some(Reaction::Garbage) => json!("?"),
            Some(Reaction::Grant(fence)) => granted(fence),
            Some(Reaction::Refuse(reason)) => json!({"status": "refused", "reason": reason}),
            None if is_result => json!({"status": "recorded"}),
            None => granted(8),
        };
        request.respond(reply.to_string()).await.unwrap();
        let _ = heard
            .send((request.subject.clone(), serde_json::from_slice(&request.payload).unwrap()));
    }
}

pub(crate) fn command(agent: &str, id: &str, kind: CommandKind, payload: Value) -> Command {
    let command_id = CommandId::parse(id).unwrap();
    Command {
        v: 1,
        workflow_id: command_id.workflow_id.clone(),
        idempotency_key: command_id.idempotency_key(),
        step_id: command_id.step_path.clone(),
        visit: command_id.visit,
        attempt: command_id.attempt,
        command_id,
        template_name: "hotfix.workflow.yaml".to_owned(),
        dispatch: 1,
        kind,
        agent: AgentName::parse(agent).unwrap(),
        payload,
        context: Map::new(),
        fence: 7,
        claim: false,
        lease_ms: 30_000,
        timeout_ms: 15_000,
        budget: None,
        insights: Vec::new(),
        locks: Vec::new(),
        recovery: None,
    }
}
