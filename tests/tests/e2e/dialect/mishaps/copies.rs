//! Publishes every step command of some runs a second time, under another id.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use sluice_bus::StepMessage;
use sluice_engine::template::StepKind;
use sluice_proto::ids::AgentName;
use sluice_proto::message::Command;
use sluice_tests::agents::Agents;
use sluice_tests::{PATIENCE, World};
use tokio_util::task::AbortOnDropHandle;

use super::super::drive::Driven;
use super::super::suite::Suite;
use super::declared::{Kind, Mishap};

/// An execution whose command was published a second time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Copied {
    workflow_id: String,
    /// Path of the work: of a step, or of what belongs to it.
    path: String,
    visit: u64,
    attempt: u64,
}

/// Copies while it is there.
pub(super) struct Copying {
    copied: Arc<Mutex<HashSet<Copied>>>,
    _task: AbortOnDropHandle<()>,
}

impl Copying {
    pub(super) fn published(&self) -> HashSet<Copied> {
        self.copied.lock().unwrap().clone()
    }
}

/// Publishes the commands of every run that is to have them twice. Questions whose answers come in turn
/// are left alone: the second would be given the next answer.
pub(super) async fn publish_all_twice(world: &World, mishaps: &[Mishap]) -> Copying {
    let bus = world.connect("test").await;
    let mut commands = bus.subscribe(bus.subjects().all_steps()).await.unwrap();
    let in_turn = |mishap: &Mishap| mishap.scenario.model.values().any(|answers| answers.len() > 1);
    let twice = mishaps.iter().filter(|mishap| mishap.kind == Kind::Twice);
    // By template, whether questions are copied.
    let templates: BTreeMap<String, bool> =
        twice.map(|mishap| (mishap.template.file.clone(), !in_turn(mishap))).collect();
    let copied = Arc::new(Mutex::new(HashSet::new()));
    let noted = Arc::clone(&copied);
    let task = tokio::spawn(async move {
        while let Some(message) = commands.next().await {
            let command: Command = serde_json::from_slice(&message.payload).unwrap();
            let Some(questions) = templates.get(&command.template_name) else { continue };
            // What comes by a second time is the copy.
            if (command.agent == AgentName::llm() && !questions) || !note(&noted, &command) {
                continue;
            }
            let again = StepMessage {
                agent: command.agent.clone(),
                urgent: message.subject.ends_with(".urgent"),
                message_id: format!("copy-of-{}", command.command_id),
                body: message.payload,
                traceparent: None,
            };
            let published = bus.publish_steps(vec![again]).await;
            assert!(published[0].is_ok(), "{published:?}");
        }
    });
    Copying { copied, _task: AbortOnDropHandle::new(task) }
}

fn note(copied: &Mutex<HashSet<Copied>>, command: &Command) -> bool {
    copied.lock().unwrap().insert(Copied {
        workflow_id: command.workflow_id.to_string(),
        path: command.step_id.clone(),
        visit: command.visit.into(),
        attempt: command.attempt.into(),
    })
}

/// Waits until workers have taken every command off the queue, copies too.
pub(super) async fn all_taken(world: &World, suite: &Suite) {
    let names = suite.agents.iter().map(|(name, _)| AgentName::parse(name).unwrap());
    let until = Instant::now() + PATIENCE;
    for agent in names.chain([AgentName::llm(), AgentName::notify()]) {
        for urgent in [false, true] {
            loop {
                let lane = world.bus.step_lane(&agent, urgent).await.unwrap();
                if lane.pending == 0 && lane.ack_pending == 0 {
                    break;
                }
                assert!(Instant::now() < until, "{agent} is left with {lane:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// An agent with effects is called once for each execution, whoever has its command twice; others twice
/// at most. And the step in question really was handed out twice.
pub(super) fn wrong_calls(
    suite: &Suite,
    agents: &Agents,
    mishap: &Mishap,
    driven: &Driven,
    copied: &HashSet<Copied>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let of_run: BTreeSet<&str> = copied
        .iter()
        .filter(|copy| copy.workflow_id == driven.id)
        .map(|copy| copy.path.split('.').next().unwrap())
        .collect();
    if !of_run.contains(mishap.step.as_str()) {
        problems.push(format!("only {of_run:?} were handed out twice"));
    }
    let mut calls: BTreeMap<(String, u64, u64), u64> = BTreeMap::new();
    let all = agents.calls();
    for call in all.iter().filter(|call| call.command["workflow_id"] == *driven.id) {
        let visit = call.command["visit"].as_u64().unwrap();
        *calls.entry((call.step().to_owned(), visit, call.attempt())).or_default() += 1;
    }
    for ((path, visit, attempt), times) in calls {
        let step = mishap.template.step(path.split('.').next().unwrap());
        let Some(StepKind::AgentCall(call)) = step.map(|step| &step.kind) else { continue };
        let mut known = suite.agents.iter();
        let (_, effects) = known.find(|(name, _)| *name == call.agent.as_str()).unwrap();
        let most = if *effects { 1 } else { 2 };
        if times > most {
            problems.push(format!("{path} {visit}/{attempt} was called {times} times, not {most}"));
        }
    }
    problems
}
