//! Nobody passes a gate who may not: read from the recorded events and the template alone, with a
//! memory of who really answered and decided what.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use sluice_engine::template::{
    AgentCall, Approval, Gate, Join, LlmGate, Risk, StepKind, Target, answer_text,
};
use sluice_proto::event::{
    CompleteStep, Event, EventBody, PauseWorkflow, ResumeWorkflow, RetryStep, Status,
};

use super::world::World;

/// What a run has asked people.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    required: u32,
    approvers: BTreeSet<String>,
    rejected: bool,
}

impl World<'_> {
    pub(crate) fn check_events(&mut self, run: usize, events: &[Event]) {
        for event in events {
            self.note(|| {
                let step = event.step_id.as_deref().unwrap_or("-");
                format!(
                    "run-{run} #{} {} {step} {}",
                    event.sequence,
                    event.body.action(),
                    shown(event)
                )
            });
            self.check_event(run, event);
        }
    }

    fn check_event(&mut self, run: usize, event: &Event) {
        let step = event.step_id.as_deref().unwrap_or_default();
        self.check_ended(run, event);
        match &event.body {
            EventBody::StartWorkflow(_) if event.sequence != 1 => {
                self.checker.fail(format!("run-{run} starts twice"));
            }
            EventBody::CompleteStep(complete) => self.check_complete(run, step, complete),
            EventBody::PauseWorkflow(pause) => self.check_pause(run, step, pause),
            EventBody::ApproveGate(approve) if approve.approver != "system" => {
                let asked = self.checker.asked.entry((run, step.to_owned())).or_default();
                if !asked.approvers.insert(approve.approver.clone()) {
                    self.checker.fail(format!("run-{run}: {} approves twice", approve.approver));
                }
            }
            EventBody::RejectGate(_) => {
                self.checker.asked.entry((run, step.to_owned())).or_default().rejected = true
            }
            EventBody::ResumeWorkflow(resume) => self.check_resume(run, step, resume),
            _ => {}
        }
    }

    /// Nothing happens to a run that has ended, but for its messages; only a failed one goes on, and only
    /// when a person says so.
    fn check_ended(&mut self, run: usize, event: &Event) {
        let ended_as = self.checker.ended_as.get(&run).copied();
        match &event.body {
            EventBody::CompleteWorkflow(complete) if ended_as.is_none() => {
                self.checker.ended_as.insert(run, complete.status);
            }
            EventBody::RetryStep(RetryStep { command: Some(_), .. })
                if ended_as == Some(Status::Failed) =>
            {
                self.checker.ended_as.remove(&run);
            }
            EventBody::Notify(_) | EventBody::CaptureInsight(_) => {}
            // Children may outlive their parents.
            EventBody::ChildWorkflowComplete(_) => {}
            EventBody::RetryStep(RetryStep { command: None, .. }) | EventBody::FailStep(_) => {
                let of_a_message =
                    event.step_id.as_deref().is_some_and(|path| path.contains(".notify."));
                if ended_as.is_some() && !of_a_message {
                    self.checker.fail(format!("run-{run} goes on after its end: {event:?}"));
                }
            }
            _ if ended_as.is_some() => {
                self.checker.fail(format!("run-{run} goes on after its end: {event:?}"));
            }
            _ => {}
        }
    }

    fn approval(&self, run: usize, step: &str) -> Option<&Approval> {
        match &self.scenery.templates[self.runs[&run]].step(step)?.kind {
            StepKind::Approval(approval) => Some(approval),
            _ => None,
        }
    }

    fn check_pause(&mut self, run: usize, step: &str, pause: &PauseWorkflow) {
        let declared = self.approval(run, step).map_or(1, |approval| approval.required_approvals);
        let required = if pause.reason == "awaiting_approval" { declared } else { 1 };
        self.checker.asked.insert((run, step.to_owned()), Asked { required, ..Asked::default() });
    }

    fn check_resume(&mut self, run: usize, step: &str, resume: &ResumeWorkflow) {
        let asked = self.checker.asked.remove(&(run, step.to_owned())).unwrap_or_default();
        let enough = asked.approvers.len() >= asked.required.max(1) as usize;
        let right = match resume.decision.as_str() {
            "approved" => enough && !asked.rejected,
            _ => asked.rejected,
        };
        let on_approved =
            self.approval(run, step).and_then(|approval| approval.on_approved.as_ref());
        let passed = leads_to(step, on_approved, resume.next.next_step.as_deref());
        let may_pass = resume.decision == "approved";
        if !right || (passed && !may_pass) {
            self.checker.fail(format!("run-{run} passes '{step}' with {asked:?}: {resume:?}"));
        }
    }

    fn check_complete(&mut self, run: usize, step: &str, complete: &CompleteStep) {
        let template = &self.scenery.templates[self.runs[&run]];
        let Some(declared) = template.step(step) else {
            return self.checker.fail(format!("run-{run} completes an unknown step '{step}'"));
        };
        let right = match &declared.kind {
            StepKind::AgentCall(AgentCall { gate: Some(Gate::Llm(gate)), .. }) => {
                self.gate_passed(run, step, gate, complete)
            }
            StepKind::AgentCall(call) => {
                let answered = self.checker.was_given(run, step, &complete.result);
                let next = complete.next.next_step.as_deref();
                let target = call.on_success.as_ref();
                answered
                    && (call.gate.is_some() || target.is_none() || leads_to(step, target, next))
            }
            StepKind::Approval(approval) => self.passed_alone(run, step, approval, complete),
            StepKind::Fan(fan) => {
                let list =
                    |key: &str| complete.result.get(key).and_then(Value::as_array).map(Vec::len);
                let all = list("items").or_else(|| {
                    let branches = complete.result.get("branches").and_then(Value::as_object);
                    branches.map(Map::len)
                });
                let needed = match fan.join {
                    Join::All => all,
                    Join::Count(needed) => Some(needed as usize),
                };
                needed.is_some() && list("succeeded") >= needed
            }
            StepKind::Workflow(_) => self.child_completed(run, step, &complete.result),
            _ => true,
        };
        if !right {
            self.checker.fail(format!("run-{run} passes '{step}' unauthorised: {complete:?}"));
        }
    }

    fn gate_passed(&self, run: usize, step: &str, gate: &LlmGate, complete: &CompleteStep) -> bool {
        let (Some(decision), Some(answer)) = (&complete.decision, &complete.answer) else {
            return false;
        };
        let next = complete.next.next_step.as_deref();
        let by_rules = complete.decided_by.as_deref() == Some("rules") && !gate.rules.is_empty();
        let by_model = complete.decided_by.as_deref() == Some("model")
            && self.checker.was_given(run, &format!("{step}.gate"), answer);
        let says = |value: &Value| answer_text(value).is_some_and(|word| word == *decision);
        (by_rules || by_model)
            && answer.values().any(says)
            && leads_to(step, gate.routes.get(decision), next)
    }

    /// An approval that no person gave.
    fn passed_alone(
        &self,
        run: usize,
        step: &str,
        approval: &Approval,
        complete: &CompleteStep,
    ) -> bool {
        // Missing, null, empty or "none"; anything else asks for somebody.
        let low = |answer: &&Map<String, Value>| {
            let level = answer.get("risk_level").and_then(Value::as_str).unwrap_or("");
            let nobody = match answer.get("approver_role").unwrap_or(&Value::Null) {
                Value::Null => true,
                Value::String(role) => matches!(role.trim().to_lowercase().as_str(), "" | "none"),
                _ => false,
            };
            level.trim().to_lowercase() == "low" && nobody
        };
        let by_rules = complete.result.get("decided_by") == Some(&Value::from("rules"));
        let asked = match &approval.risk {
            Some(Risk::UsePrevious { step: previous }) => {
                format!("{}.gate", beside(step, &Target::Step(previous.clone())))
            }
            _ => format!("{step}.risk"),
        };
        let assessed = by_rules || self.checker.answers(run, &asked).iter().any(low);
        let permitted = approval.on_auto_approved.is_some() && approval.required_approvals == 1;
        permitted && assessed
    }
}

fn leads_to(step: &str, target: Option<&Target>, next: Option<&str>) -> bool {
    target.is_some_and(|target| Some(beside(step, target).as_str()) == next)
}

/// What events call the target of a step.
pub(super) fn beside(step: &str, target: &Target) -> String {
    match (branch_of(step), target) {
        (Some(branch), Target::Step(id)) => format!("{branch}.{id}"),
        (_, target) => target.name().to_owned(),
    }
}

/// The branch that a step is in.
pub(super) fn branch_of(step: &str) -> Option<&str> {
    Some(step.rsplit_once('.')?.0)
}

fn shown(event: &Event) -> String {
    let text = format!("{:?}", event.body);
    text.chars().take(220).collect()
}
