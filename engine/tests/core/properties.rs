//! Whatever comes in, in whatever order: nothing panics, and the checks of [`Run`] hold.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_engine::attempt::Loss;
use sluice_engine::{Cancel, Decision, Input, Retry, Suspend, wishes};
use sluice_proto::event::Annotate;

use crate::run::{Run, failure, success};

pub(crate) const TEXTS: [&str; 4] = [
    "on_cancel: undo
steps:
  - id: plan
    type: agent_call
    agent: keyed
    resource_lock: \"x:{{ context.env }}\"
    decision_gate:
      type: llm_assessment
      prompt: Well?
      rules: [{when: outputs.plan.n > 8, answer: {decision: low}}]
      on_low: approve
      on_high: both
      on_again: plan
  - {id: approve, type: hitl_approval, risk_assessment: {use_previous: plan}, on_approved: apply, on_rejected: told, on_auto_approved: apply}
  - {id: both, type: hitl_approval, requires_multiple_approvals: true, on_approved: apply, on_rejected: workflow_paused}
  - {id: apply, type: agent_call, agent: writer, resource_lock: \"x:{{ context.env }}\", on_success: branch, on_failure: undo}
  - {id: branch, type: conditional, condition: outputs.apply.n < 5, on_true: plan, on_false: workflow_complete}
  - {id: undo, type: agent_call, agent: writer, payload: {action: rollback}, on_success: told}
  - {id: told, type: notification, channels: [log], resource_lock: y, lock_wait: 10s, on_complete: workflow_failed}
error_recovery: {max_workflow_retries: 3}
error_handling: [{step: apply, max_retries: 1}]
notifications: [{trigger: workflow_failed, channels: [log]}, {trigger: workflow_complete, channels: [log]}]
",
    "steps:
  - {id: write, type: agent_call, agent: reader, on_success: risky}
  - {id: risky, type: hitl_approval, resource_lock: y, lock_wait: 5s, risk_assessment: {type: llm_assessment, prompt: Well?}, on_approved: end, on_rejected: workflow_paused, on_auto_approved: write}
  - {id: end, type: terminal, resource_lock: z}
",
    "steps:
  - {id: test, type: agent_call, agent: reader, decision_gate: {type: deterministic_check, condition: outputs.test.n >= 5, on_success: notify_success, on_failure: workflow_paused}}
",
    "steps:
  - id: fan
    type: parallel
    join: 2
    on_branch_failure: collect
    branches:
      a: [{id: one, type: agent_call, agent: keyed, resource_lock: x, on_success: two}, {id: two, type: wait, for: 3s, on_success: one}]
      b: [{id: ask, type: hitl_approval, on_approved: one, on_rejected: branch_failed}, {id: one, type: agent_call, agent: writer, resource_lock: x, lock_wait: 5s}]
      c: [{id: each, type: for_each, items: [1, '{{ outputs.fan.n }}', 3], max_concurrent: 2, steps: [{id: do, type: agent_call, agent: reader, resource_lock: 'y:{{ index }}', on_success: tell}, {id: tell, type: notification, channels: [log]}], join: any}]
    on_success: check
    on_failure: undo
  - {id: check, type: conditional, condition: outputs.fan.branches.c.status == 'succeeded', on_true: fan, on_false: workflow_complete}
  - {id: undo, type: agent_call, agent: writer, resource_lock: x, payload: {action: rollback}, on_success: workflow_failed}
error_recovery: {max_workflow_retries: 2}
",
];

/// What happens next, in numbers that are read against what is outstanding.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    Answer(usize, Value),
    Fail(usize, Option<bool>),
    Lose(usize, usize),
    Stale(usize, u32),
    Decide(bool, Option<&'static str>),
    Grant(usize),
    Queue(usize),
    TimeOut(usize),
    Wake(usize),
    Wait(u64),
    Cancel(bool),
    Retry(usize),
    Suspend,
    Continue,
    Annotate,
}

fn answer() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec!["low", "high", "again", "LOW", "proceed", "", "medium"]);
    let key = prop::sample::select(vec!["decision", "risk_level", "path", "other", "n"]);
    (prop::collection::vec((key, word), 0..3), 0..10_u32).prop_map(|(fields, n)| {
        let mut answer = json!({"n": n});
        for (key, word) in fields {
            answer[key] = json!(word);
        }
        answer
    })
}

pub(crate) fn moves() -> impl Strategy<Value = Move> {
    let which = 0..4_usize;
    prop_oneof![
        6 => (which.clone(), answer()).prop_map(|(n, answer)| Move::Answer(n, answer)),
        2 => (which.clone(), prop::option::of(any::<bool>())).prop_map(|(n, again)| Move::Fail(n, again)),
        1 => (which.clone(), 0..4_usize).prop_map(|(n, loss)| Move::Lose(n, loss)),
        1 => (which.clone(), 0..4_u32).prop_map(|(n, off)| Move::Stale(n, off)),
        3 => (any::<bool>(), prop::sample::select(vec![Some("ada"), Some("bob"), None, Some(" ")]))
            .prop_map(|(approved, who)| Move::Decide(approved, who)),
        4 => which.clone().prop_map(Move::Grant),
        1 => which.clone().prop_map(Move::Queue),
        1 => which.clone().prop_map(Move::TimeOut),
        2 => which.clone().prop_map(Move::Wake),
        1 => (any::<bool>(), 0..4_u32).prop_map(|(force, n)| if n == 0 { Move::Cancel(force) } else { Move::Wait(0) }),
        2 => which.prop_map(Move::Retry),
        1 => Just(Move::Suspend),
        3 => Just(Move::Continue),
        1 => Just(Move::Annotate),
        1 => (0..40_000_u64).prop_map(Move::Wait),
    ]
}

pub(crate) fn input(run: &Run, one: Move) -> Option<Input> {
    let wishes = wishes(&run.template, &run.state);
    let attempt = |n: usize| wishes.attempts.get(n % wishes.attempts.len().max(1)).cloned();
    let lock = |n: usize| wishes.locks.get(n % wishes.locks.len().max(1)).cloned();
    let result = |n, off, report| {
        let wish = attempt(n)?;
        let (path, visit) = (wish.path, wish.visit + off / 2);
        Some(Input::Result { path, visit, attempt: wish.attempt + off % 2, report })
    };
    match one {
        Move::Answer(n, answer) => result(n, 0, success(answer)),
        Move::Fail(n, again) => result(n, 0, failure("boom", again)),
        Move::Stale(n, off) => result(n, off, success(json!({"decision": "low"}))),
        Move::Lose(n, loss) => {
            let wish = attempt(n)?;
            let losses =
                [Loss::Interrupted, Loss::Undeliverable, Loss::TimedOut, Loss::QueueTimedOut];
            let (path, visit, attempt) = (wish.path, wish.visit, wish.attempt);
            Some(Input::Lost { path, visit, attempt, loss: losses[loss] })
        }
        Move::Decide(approved, who) => Some(Input::Decision(Decision {
            approved,
            approver: who.map(str::to_owned),
            ..Decision::default()
        })),
        Move::Grant(n) => {
            let wish = lock(n)?;
            let fencing_number = run.events.len() as u64;
            Some(Input::LockGranted { step: wish.step, name: wish.name, fencing_number })
        }
        Move::Queue(n) => {
            let wish = lock(n)?;
            Some(Input::LockQueued { step: wish.step, name: wish.name, holder: None })
        }
        Move::Wake(n) => {
            let timer = wishes.timers.get(n % wishes.timers.len().max(1))?.clone();
            Some(Input::TimerDue { step: timer.step, visit: timer.visit })
        }
        Move::TimeOut(n) => {
            let wish = lock(n)?;
            Some(Input::LockTimedOut { step: wish.step, name: wish.name })
        }
        Move::Cancel(force) => Some(Input::Cancel(Cancel { force, ..Cancel::default() })),
        Move::Retry(n) => {
            let step = run.template.steps.keys().nth(n % run.template.steps.len())?.clone();
            Some(Input::Retry(Retry { step, max_retries: 20, requested_by: String::new() }))
        }
        Move::Suspend => Some(Input::Suspend(Suspend::default())),
        Move::Continue => Some(Input::Continue { by: String::new() }),
        Move::Annotate => Some(Input::Annotate(Annotate::default())),
        Move::Wait(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replay_equals_live(which in 0..TEXTS.len(), moves in prop::collection::vec(moves(), 0..120)) {
        let mut run = Run::start_with(TEXTS[which], json!({"env": "a"}));
        for one in moves {
            if let Move::Wait(ms) = one {
                run.later(ms);
            } else if let Some(input) = input(&run, one) {
                // A refusal is an answer like any other.
                let _ = run.input(input);
            }
        }
    }
}
