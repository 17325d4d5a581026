//! What the recorded events of a run say.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice_engine::template::{Gate, StepKind, Template};
use sluice_proto::event::Event;
use sluice_tests::World;

use super::suite::Edge;

/// The events of one run.
pub(super) struct Record {
    pub(super) events: Vec<Value>,
}

/// A lock held from one event to another.
pub(super) struct Hold {
    pub(super) lock: String,
    pub(super) fencing_number: u64,
    pub(super) from: String,
    pub(super) to: Option<String>,
}

impl Record {
    pub(super) async fn read(world: &World, id: &str) -> Self {
        let Value::Array(events) = world.events(id).await else { unreachable!("a list") };
        Self { events }
    }

    /// The same, as the engine reads them.
    pub(super) fn decoded(&self) -> Vec<Event> {
        self.events.iter().map(|event| serde_json::from_value(event.clone()).unwrap()).collect()
    }

    pub(super) fn of<'r>(&'r self, action: &'r str) -> impl Iterator<Item = &'r Value> {
        self.events.iter().filter(move |event| event["action"] == action)
    }

    /// The edges that were taken.
    pub(super) fn edges(&self, template: &Template) -> BTreeSet<Edge> {
        let edge = |step: &str, label: String, target: String| Edge {
            file: template.file.clone(),
            step: declared(template, step),
            label,
            target: declared(template, &target),
        };
        let taken = (0..self.events.len()).filter_map(|n| self.way(template, n));
        let taken = taken.map(|(label, event)| {
            edge(&text(event, "/step_id"), label, text(event, "/data/next_step"))
        });
        let begun = self.of("start_branches").flat_map(|event| {
            let is_list = event["data"]["branches"].as_array().into_iter().flatten();
            is_list.map(move |branch| (text(event, "/step_id"), branch))
        });
        let begun = begun.map(|(step, branch)| {
            let parallel = template.step(&step).unwrap().blocks().any(|(name, _)| name != "*");
            let name = branch["branch"].as_str().unwrap();
            let label = if parallel { format!("branch_{name}") } else { "each_item".to_owned() };
            edge(&step, label, text(branch, "/next_step"))
        });
        taken.chain(begun).collect()
    }

    fn way(&self, template: &Template, n: usize) -> Option<(String, &Value)> {
        let event = &self.events[n];
        let data = &event["data"];
        data.get("next_step")?.as_str()?;
        let step = event["step_id"].as_str()?;
        let decision = || format!("on_{}", data["decision"].as_str().unwrap_or("nothing"));
        let label = match event["action"].as_str()? {
            "complete_step" => match &template.step(step)?.kind {
                StepKind::AgentCall(call) => match &call.gate {
                    None => "on_success".to_owned(),
                    Some(Gate::Llm(_) | Gate::Deterministic(_)) => decision(),
                },
                StepKind::Approval(_) | StepKind::Conditional(_) => decision(),
                StepKind::Notification(_) => "on_complete".to_owned(),
                StepKind::Terminal => "end".to_owned(),
                StepKind::Wait(_) | StepKind::Fan(_) | StepKind::Workflow(_) => {
                    "on_success".to_owned()
                }
            },
            "fail_step" => match data["error_type"].as_str()? {
                kind @ ("gate_error" | "loop_limit") => kind.to_owned(),
                _ => template.failure_label(step).to_owned(),
            },
            "resume_workflow" => {
                let paused = self.events[..n]
                    .iter()
                    .rev()
                    .find(|event| event["action"] == "pause_workflow")?;
                match (paused["data"]["reason"].as_str()?, data["decision"].as_str()?) {
                    ("changes_requested", "approved") => "on_resumed".to_owned(),
                    ("changes_requested", _) => "on_given_up".to_owned(),
                    _ => decision(),
                }
            }
            _ => return None,
        };
        Some((label, event))
    }

    /// What happened, in order: the edges, the failures before them, the locks and what was undone.
    /// Waits for locks are left out: they depend on the other runs.
    pub(super) fn trace(&self, template: &Template) -> Vec<String> {
        let line = |n: usize| {
            let event = &self.events[n];
            let step = text(event, "/step_id");
            let error = || text(event, "/data/error_type");
            match (self.way(template, n), event["action"].as_str()?) {
                (Some((label, _)), "fail_step") if label != error() => {
                    Some(format!("{step} {label} ({})", error()))
                }
                (Some((label, _)), _) => Some(format!("{step} {label}")),
                (None, "fail_step") => Some(format!("{step} failed ({})", error())),
                (None, "retry_step") => Some(format!("{step} retried")),
                (None, "rollback_step") => {
                    Some(format!("{step} undone by {}", text(event, "/data/by_step")))
                }
                (None, "acquire_lock") => Some(format!("+{}", text(event, "/data/resource_lock"))),
                (None, "release_lock") => Some(format!("-{}", text(event, "/data/resource_lock"))),
                _ => None,
            }
        };
        (0..self.events.len()).filter_map(line).collect()
    }

    /// The attempts that agents must have been called for, in order: step, visit and execution.
    pub(super) fn attempts(&self, template: &Template) -> Vec<(String, u64)> {
        let mut attempts = Vec::new();
        // The agent has answered; what comes next for the step is its gate's doing.
        let mut answered = false;
        for event in &self.events {
            let step = text(event, "/step_id");
            if event["action"] == "rollback_step" && !event["data"]["compensated"].is_null() {
                attempts.push((format!("{step}.undo"), 1));
            }
            if !matches!(template.step(&step).map(|step| &step.kind), Some(StepKind::AgentCall(_)))
            {
                continue;
            }
            let data = &event["data"];
            let (called, settled) = match event["action"].as_str().unwrap_or_default() {
                "record_output" => (true, false),
                "complete_step" => (!answered, true),
                "fail_step" => {
                    (!answered && data["error_type"] != "loop_limit", data["final"] == true)
                }
                _ => continue,
            };
            if called {
                attempts.push((step, data["attempt"].as_u64().unwrap_or_default()));
            }
            answered = (answered || event["action"] == "record_output") && !settled;
        }
        attempts
    }

    /// How often a model was asked about a step, where nothing went wrong with the asking.
    pub(super) fn questions(&self, step: &str) -> usize {
        let asked = |event: &&Value| {
            event["step_id"] == step
                && match event["action"].as_str() {
                    Some("record_output") => true,
                    Some("pause_workflow") => {
                        event["data"]["reason"] == "awaiting_approval"
                            && event["data"]["risk_assessment"]["decided_by"] != "rules"
                    }
                    Some("complete_step") => {
                        event["data"]["decision"] == "auto_approved"
                            && event["data"]["result"]["decided_by"] != "rules"
                    }
                    _ => false,
                }
        };
        self.events.iter().filter(asked).count()
    }

    /// Ids of messages that were asked for and neither delivered nor given up.
    pub(super) fn undelivered(&self) -> Vec<String> {
        let ids = |status: &'static str| {
            let with = self.of("notify").filter(move |event| event["data"]["status"] == status);
            with.map(|event| text(event, "/data/notification_id"))
        };
        let delivered: Vec<String> = ids("delivered").collect();
        let escalated = self.of("escalate").map(|event| text(event, "/data/notification_id"));
        ids("requested").chain(escalated).filter(|id| !delivered.contains(id)).collect()
    }

    /// Whether everybody was told about every pause of this step.
    pub(super) fn is_announced(&self, step: &str) -> bool {
        let pauses = self.of("pause_workflow").filter(|event| event["step_id"] == step).count();
        let told = self.of("notify").filter(|event| {
            event["data"]["notification_id"] == format!("{step}.announce")
                && event["data"]["status"] == "delivered"
        });
        told.count() == pauses
    }

    /// A line about what should have been settled at the end and is not.
    pub(super) fn unsettled(&self, template: &Template) -> Option<String> {
        let ends = self.of("complete_workflow").count();
        (ends != 1).then(|| format!("{ends} ends: {:#?}", self.trace(template)))
    }

    /// Triggers of the messages in one state of delivery, in order; announcements of approvals and
    /// escalations left out.
    pub(super) fn triggers(&self, status: &str) -> Vec<String> {
        let with = self.of("notify").filter(|event| {
            let trigger = &event["data"]["trigger"];
            event["data"]["status"] == status && trigger != "approval" && trigger != "escalation"
        });
        with.map(|event| text(event, "/data/trigger")).collect()
    }

    /// Every lock that was held.
    pub(super) fn holds(&self) -> Vec<Hold> {
        let mut holds: Vec<Hold> = Vec::new();
        for event in &self.events {
            let lock = text(event, "/data/resource_lock");
            let at = text(event, "/timestamp");
            match event["action"].as_str() {
                Some("acquire_lock") => {
                    let fencing_number =
                        event["data"]["fencing_number"].as_u64().unwrap_or_default();
                    holds.push(Hold { lock, fencing_number, from: at, to: None });
                }
                Some("release_lock") => {
                    if let Some(hold) = holds.iter_mut().rev().find(|hold| hold.lock == lock) {
                        hold.to = Some(at);
                    }
                }
                _ => {}
            }
        }
        holds
    }
}

/// A path as the template has it; what is no step stays as it is.
fn declared(template: &Template, path: &str) -> String {
    template.step(path).map_or_else(|| path.to_owned(), |step| step.path.clone())
}

pub(super) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
