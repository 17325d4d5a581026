//! One run under test. Every input is followed by the checks that hold for all of them: the replay of
//! the events is the state, and the effects lead from what was outstanding to what the state wishes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sluice_engine::attempt::Loss;
use sluice_engine::breaker::Breakers;
use sluice_engine::lesson::Lessons;
use sluice_engine::template::{Severity, Template, load};
use sluice_engine::{
    Advance, AttemptDraft, Cancel, ChildEnd, Decision, Effect, Input, Refused, Report, Retry,
    Situation, State, Suspend, WishedAttempt, WishedChild, WishedTimer, advance, replay, wishes,
};
use sluice_proto::agents::{AgentCatalogue, AgentTraits};
use sluice_proto::event::{EVENT_VERSION, Event, Status};
use sluice_proto::ids::{AgentName, WorkflowId};
use sluice_proto::message::AgentError;
use sluice_proto::timestamp::Timestamp;

pub(crate) struct Run {
    pub(crate) template: Template,
    agents: AgentCatalogue,
    pub(crate) state: State,
    pub(crate) events: Vec<Event>,
    /// Effects of the last input.
    pub(crate) effects: Vec<Effect>,
    pub(crate) now: Timestamp,
    pub(crate) jitter: f64,
    pub(crate) breakers: Breakers,
    pub(crate) lessons: Lessons,
    outstanding: BTreeSet<String>,
}

/// A template of these steps; `text` starts with `steps:` or holds the other top-level keys too.
pub(crate) fn template(text: &str) -> Template {
    let text = format!("name: Test\nversion: \"1.0\"\ndescription: test\n{text}");
    let loaded = load("test.workflow.yaml", &text);
    let errors: Vec<String> = loaded
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{text}");
    loaded.template.unwrap()
}

/// `reader` only reads, `writer` changes things, `keyed` changes things under an idempotency key.
pub(crate) fn agents() -> AgentCatalogue {
    let agent = |name: &str, effects, idempotent| {
        (AgentName::parse(name).unwrap(), AgentTraits { effects, idempotent, timeout_ms: 60_000 })
    };
    let agents =
        [agent("reader", false, true), agent("writer", true, false), agent("keyed", true, true)];
    AgentCatalogue::new(BTreeMap::from(agents))
}

impl Run {
    /// A run that has not started.
    pub(crate) fn new(text: &str) -> Self {
        Self {
            template: template(text),
            agents: agents(),
            state: State::new(WorkflowId::parse("run-1").unwrap()),
            events: Vec::new(),
            effects: Vec::new(),
            now: Timestamp::parse("2031-03-04T05:06:07Z").unwrap(),
            jitter: 0.0,
            breakers: Breakers::new(),
            lessons: Lessons::new(),
            outstanding: BTreeSet::new(),
        }
    }

    /// A run that has started with an empty context.
    pub(crate) fn start(text: &str) -> Self {
        Self::start_with(text, json!({}))
    }

    pub(crate) fn start_with(text: &str, context: Value) -> Self {
        let mut run = Self::new(text);
        run.input(Input::Start { context: context.as_object().cloned().unwrap() }).unwrap();
        run
    }

    /// Hands an input to the engine; gives the names of the new events and their steps.
    pub(crate) fn input(&mut self, input: Input) -> Result<Vec<String>, Refused> {
        let situation = Situation {
            template: &self.template,
            agents: &self.agents,
            now: self.now,
            jitter: self.jitter,
            breakers: &self.breakers,
            lessons: &self.lessons,
        };
        let Advance { state, events, effects } = advance(&situation, &self.state, input)?;
        let first = self.events.len();
        for event in events {
            let sequence = self.events.len() as u64 + 1;
            self.events.push(Event {
                event_id: String::new(),
                workflow_id: state.workflow_id.clone(),
                parent_workflow_id: None,
                sequence,
                step_id: event.step,
                timestamp: self.now,
                event_version: EVENT_VERSION,
                prev_hash: String::new(),
                key_id: String::new(),
                body: event.body,
            });
        }
        self.state = state;
        self.effects = effects;
        self.check();
        Ok(self.events[first..].iter().map(name).collect())
    }

    fn check(&mut self) {
        let replayed = replay(State::new(self.state.workflow_id.clone()), &self.events);
        assert_eq!(replayed, self.state, "replay differs from live");
        assert_eq!(self.state.sequence, self.events.len() as u64);
        let text = serde_json::to_string(&self.state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), self.state, "a snapshot differs");
        self.follow_effects();
        let wished = wished(&self.template, &self.state);
        assert_eq!(self.outstanding, wished, "effects do not lead to what the state wishes");
        let ended = self.state.status.is_terminal();
        let held_up = self.state.suspension.is_some();
        assert!(
            ended || held_up || !wished.is_empty(),
            "the run waits for nothing: {:?}",
            self.state.active
        );
        assert!(!ended || self.state.locks.is_empty(), "a lock outlives the run");
    }

    fn follow_effects(&mut self) {
        let mut changed = Vec::new();
        for effect in &self.effects {
            let (is_new, what) = match effect {
                Effect::CreateAttempt(draft) => (true, attempt_name(&draft.wish)),
                Effect::DropAttempt(wish) => (false, attempt_name(wish)),
                Effect::RequestLock(wish) => {
                    (true, format!("lock {} for {}", wish.name, wish.step))
                }
                Effect::WithdrawLockRequest(wish) => {
                    (false, format!("lock {} for {}", wish.name, wish.step))
                }
                Effect::ReleaseLock(_) => continue,
                Effect::ChangeBreaker { step, change } => {
                    let breaker = self.breakers.get(step).cloned().unwrap_or_default();
                    changed.push((step.clone(), breaker.after(change)));
                    continue;
                }
                Effect::Learn { agent, signature, change } => {
                    let key = (agent.to_string(), signature.clone());
                    let lesson = self.lessons.entry(key).or_default();
                    *lesson = lesson.after(change);
                    continue;
                }
                Effect::OpenApproval(id) => (true, id.clone()),
                Effect::CloseApproval(id) => (false, id.clone()),
                Effect::StartTimer(wish) => (true, timer_name(wish)),
                Effect::StopTimer(wish) => (false, timer_name(wish)),
                Effect::StartChild { wish, .. } => (true, child_name(wish)),
                Effect::LeaveChild(wish) => (false, child_name(wish)),
            };
            let fits = if is_new {
                self.outstanding.insert(what.clone())
            } else {
                self.outstanding.remove(&what)
            };
            assert!(fits, "{what} is asked for twice, or dropped without being there");
        }
        self.breakers.extend(changed);
        self.breakers.retain(|_, breaker| !breaker.is_new());
        // A granted lock leaves the queue by its grant.
        let locks = &self.state.locks;
        let granted = |what: &str| {
            locks.iter().any(|(name, held)| what == format!("lock {name} for {}", held.step))
        };
        self.outstanding.retain(|what| !granted(what));
    }

    /// The outstanding attempt at a path.
    pub(crate) fn attempt(&self, path: &str) -> WishedAttempt {
        let wishes = wishes(&self.template, &self.state).attempts;
        let there: Vec<String> = wishes.iter().map(attempt_name).collect();
        let found = wishes.into_iter().find(|wish| wish.path == path);
        found.unwrap_or_else(|| panic!("no attempt of {path} is outstanding, only {there:?}"))
    }

    /// What is outstanding, sorted: attempts as `path:visit:attempt`.
    pub(crate) fn outstanding(&self) -> Vec<&str> {
        self.outstanding.iter().map(String::as_str).collect()
    }

    /// The draft that the last input made for a path.
    pub(crate) fn draft(&self, path: &str) -> AttemptDraft {
        let drafts = self.effects.iter().filter_map(|effect| match effect {
            Effect::CreateAttempt(draft) => Some(draft.as_ref().clone()),
            _ => None,
        });
        drafts.into_iter().find(|draft| draft.wish.path == path).unwrap()
    }

    pub(crate) fn report(&mut self, path: &str, report: Report) -> Vec<String> {
        let WishedAttempt { path, visit, attempt, .. } = self.attempt(path);
        self.input(Input::Result { path, visit, attempt, report }).unwrap()
    }

    /// The outstanding attempt at `path` answers.
    pub(crate) fn ok(&mut self, path: &str, answer: Value) -> Vec<String> {
        self.report(path, success(answer))
    }

    /// The outstanding attempt at `path` fails.
    pub(crate) fn fail(&mut self, path: &str, retryable: Option<bool>) -> Vec<String> {
        self.report(path, failure("boom", retryable))
    }

    /// The outstanding attempt at `path` fails until its failure takes effect; says how often.
    pub(crate) fn exhaust(&mut self, path: &str) -> u32 {
        let visit = self.attempt(path).visit;
        for n in 1.. {
            self.fail(path, Some(true));
            let still = wishes(&self.template, &self.state).attempts;
            if !still.iter().any(|wish| wish.path == path && wish.visit == visit) {
                return n;
            }
        }
        unreachable!("the loop ends by return")
    }

    pub(crate) fn lose(&mut self, path: &str, loss: Loss) -> Vec<String> {
        let WishedAttempt { path, visit, attempt, .. } = self.attempt(path);
        self.input(Input::Lost { path, visit, attempt, loss }).unwrap()
    }

    pub(crate) fn decide(
        &mut self,
        approved: bool,
        who: Option<&str>,
    ) -> Result<Vec<String>, Refused> {
        self.input(Input::Decision(Decision {
            approved,
            approver: who.map(str::to_owned),
            approver_role: Some("tech_lead".to_owned()),
            comment: Some("so be it".to_owned()),
            ..Decision::default()
        }))
    }

    pub(crate) fn approve(&mut self, who: &str) -> Vec<String> {
        self.decide(true, Some(who)).unwrap()
    }

    pub(crate) fn reject(&mut self, who: &str) -> Vec<String> {
        self.decide(false, Some(who)).unwrap()
    }

    pub(crate) fn cancel(&mut self, force: bool) -> Result<Vec<String>, Refused> {
        self.input(Input::Cancel(Cancel {
            reason: "no longer wanted".to_owned(),
            cancelled_by: "ops".to_owned(),
            force,
        }))
    }

    pub(crate) fn retry_from(&mut self, step: &str, max: u32) -> Result<Vec<String>, Refused> {
        self.input(Input::Retry(Retry {
            step: step.to_owned(),
            max_retries: max,
            requested_by: "ops".to_owned(),
        }))
    }

    pub(crate) fn suspend(&mut self) -> Result<Vec<String>, Refused> {
        self.input(Input::Suspend(Suspend { reason: "trouble".to_owned(), by: "ops".to_owned() }))
    }

    pub(crate) fn go_on(&mut self) -> Result<Vec<String>, Refused> {
        self.input(Input::Continue { by: "ops".to_owned() })
    }

    pub(crate) fn grant(&mut self, step: &str, name: &str, fencing_number: u64) -> Vec<String> {
        let (step, name) = (step.to_owned(), name.to_owned());
        self.input(Input::LockGranted { step, name, fencing_number }).unwrap()
    }

    pub(crate) fn queue(&mut self, step: &str, name: &str) -> Vec<String> {
        let (step, name) = (step.to_owned(), name.to_owned());
        self.input(Input::LockQueued { step, name, holder: None }).unwrap()
    }

    /// The moment that `step` waits for comes.
    pub(crate) fn wake(&mut self, step: &str) -> Vec<String> {
        let timers = wishes(&self.template, &self.state).timers;
        let timer = timers.into_iter().find(|timer| timer.step == step).unwrap();
        self.now = self.now.max(timer.due_at);
        self.input(Input::TimerDue { step: timer.step, visit: timer.visit }).unwrap()
    }

    /// The child that a step waits for.
    pub(crate) fn child(&self, step: &str) -> WorkflowId {
        let children = wishes(&self.template, &self.state).children;
        children.into_iter().find(|wish| wish.step == step).unwrap().workflow_id
    }

    /// What the last input gave the child of a step as its context.
    pub(crate) fn child_context(&self, step: &str) -> Result<Value, String> {
        let mut contexts = self.effects.iter().filter_map(|effect| match effect {
            Effect::StartChild { wish, context } if wish.step == step => Some(context.clone()),
            _ => None,
        });
        contexts.next_back().unwrap().map(Value::Object)
    }

    /// The child that a step waits for ends.
    pub(crate) fn child_ends(&mut self, step: &str, end: ChildEnd) -> Vec<String> {
        let child = self.child(step);
        self.input(Input::ChildEnded { child, end: Box::new(end) }).unwrap()
    }

    /// Delivers every message that is outstanding.
    pub(crate) fn deliver_messages(&mut self) {
        let is_message = |wish: &WishedAttempt| wish.agent == AgentName::notify();
        while let Some(wish) =
            wishes(&self.template, &self.state).attempts.into_iter().find(is_message)
        {
            self.ok(&wish.path, json!({}));
        }
    }

    pub(crate) fn later(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.plus_ms(ms);
        self
    }

    /// Data of the last event of this action.
    pub(crate) fn data(&self, action: &str) -> Value {
        let event = self.events.iter().rev().find(|event| event.body.action() == action);
        let event = event.unwrap_or_else(|| panic!("no event {action}"));
        serde_json::to_value(event).unwrap()["data"].clone()
    }

    /// Name and step of every event so far.
    pub(crate) fn trail(&self) -> Vec<String> {
        self.events.iter().map(name).collect()
    }

    pub(crate) fn output(&self, step: &str) -> &Value {
        &self.state.outputs[step]
    }

    /// Status, target and failure of a run that has ended.
    pub(crate) fn ending(&self) -> (Status, Value) {
        assert!(self.state.status.is_terminal(), "{:?}", self.state.active);
        (self.state.status, self.data("complete_workflow")["target"].clone())
    }

    /// Step and reason of the failure.
    pub(crate) fn blame(&self) -> (Option<&str>, Option<&str>) {
        (self.state.failed_step.as_deref(), self.state.failure_reason.as_deref())
    }
}

fn name(event: &Event) -> String {
    let step = event.step_id.as_deref().map(|step| format!(" {step}"));
    format!("{}{}", event.body.action(), step.unwrap_or_default())
}

fn attempt_name(wish: &WishedAttempt) -> String {
    format!("{}:{}:{}", wish.path, wish.visit, wish.attempt)
}

fn timer_name(wish: &WishedTimer) -> String {
    format!("timer {}:{} at {}", wish.step, wish.visit, wish.due_at)
}

fn wished(template: &Template, state: &State) -> BTreeSet<String> {
    let wishes = wishes(template, state);
    let attempts = wishes.attempts.iter().map(attempt_name);
    let locks = wishes.locks.iter().map(|wish| format!("lock {} for {}", wish.name, wish.step));
    let timers = wishes.timers.iter().map(timer_name);
    let children = wishes.children.iter().map(child_name);
    let waits = timers.chain(children);
    attempts.chain(locks).chain(wishes.approvals.iter().cloned()).chain(waits).collect()
}

fn child_name(wish: &WishedChild) -> String {
    format!("child of {}:{}", wish.step, wish.visit)
}

pub(crate) fn success(answer: Value) -> Report {
    Report {
        outcome: Ok(answer.as_object().cloned().unwrap()),
        duration_ms: 1_500,
        usage: None,
        insights: Vec::new(),
    }
}

pub(crate) fn failure(code: &str, retryable: Option<bool>) -> Report {
    let error = AgentError {
        code: code.to_owned(),
        message: "it went wrong".to_owned(),
        retryable,
        retry_after_ms: None,
    };
    Report { outcome: Err(error), duration_ms: 10, usage: None, insights: Vec::new() }
}
