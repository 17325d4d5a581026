//! Compares what became of a run with what its scenario and its template say.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_engine::template::{StepKind, Template};
use sluice_engine::{State, replay, state_response};
use sluice_proto::ids::WorkflowId;
use sluice_tests::agents::{Agents, Call};

use super::drive::Driven;
use super::record::{Hold, Record, text};
use super::scenario::Scenario;
use super::suite::prompt;

/// Everything that is not as it should be.
pub(super) fn judge(
    agents: &Agents,
    template: &Template,
    scenario: &Scenario,
    driven: &Driven,
) -> Vec<String> {
    let mut problems = judge_run(template, scenario, driven);
    problems.extend(wrong_calls(agents, template, scenario, driven));
    problems.extend(wrong_questions(agents, template, scenario, &driven.record));
    problems
}

/// Everything about the run itself, whoever was called for it how often.
pub(super) fn judge_run(template: &Template, scenario: &Scenario, driven: &Driven) -> Vec<String> {
    let (record, state) = (&driven.record, &driven.state);
    let mut problems: Vec<String> = driven.trouble.iter().cloned().collect();
    let trace = record.trace(template);
    if by_branch(&trace) != by_branch(&scenario.trace) {
        problems.push(format!("it went\n    {}", trace.join("\n    ")));
    }
    let mut check = |what: &str, found: &Value, expected: &Value| {
        if found != expected {
            problems.push(format!("{what} is {found}, not {expected}"));
        }
    };
    check("status", &state["status"], &json!(scenario.status));
    match &scenario.failed {
        None => {
            for field in ["failed_step", "error_message", "failure_reason"] {
                check(field, &state[field], &Value::Null);
            }
        }
        Some(failed) => {
            check("failed_step", &state["failed_step"], &json!(failed.step));
            check("failure_reason", &state["failure_reason"], &json!(failed.reason));
            let message = text(state, "/error_message");
            check("error_message", &json!(message.contains(&failed.message)), &json!(true));
        }
    }
    check("locks", &state["locks"], &json!([]));
    let decided = record
        .events
        .iter()
        .filter(|event| matches!(event["action"].as_str(), Some("approve_gate" | "reject_gate")));
    let (by_system, by_people): (Vec<_>, Vec<_>) =
        decided.partition(|event| event["data"]["approver_role"] == "auto");
    check("number of decisions", &json!(by_people.len()), &json!(scenario.people.len()));
    let auto = scenario.trace.iter().filter(|line| line.ends_with("on_auto_approved")).count();
    check("number of decisions nobody made", &json!(by_system.len()), &json!(auto));
    let sequences: Vec<&Value> = record.events.iter().map(|event| &event["sequence"]).collect();
    check("sequence", &json!(sequences), &json!((1..=sequences.len()).collect::<Vec<_>>()));
    problems.extend(wrong_step_statuses(template, record, state));
    problems.extend(wrong_messages(template, scenario, record));
    problems.extend(wrong_escalations(template, record));
    for (step, expected) in &scenario.asked {
        let shown = driven.asked.iter().rfind(|(asked, _)| asked == step).map(|(_, shown)| shown);
        problems.extend(lacking(&format!("shown at {step}"), shown, expected));
    }
    problems.extend(wrong_replay(template, driven));
    problems
}

fn wrong_step_statuses(template: &Template, record: &Record, state: &Value) -> Vec<String> {
    let mut expected: BTreeMap<&str, &str> =
        template.steps.keys().map(|step| (step.as_str(), "skipped")).collect();
    for event in &record.events {
        let step = event["step_id"].as_str().unwrap_or_default();
        let status = match event["action"].as_str() {
            Some("complete_step") => "completed",
            Some("fail_step") if event["data"]["final"] == true => "failed",
            Some("resume_workflow") if event["data"]["decision"] == "approved" => "completed",
            Some("resume_workflow") => "failed",
            _ => continue,
        };
        expected.insert(step, status);
    }
    let wrong =
        expected.into_iter().filter(|(step, status)| state["step_statuses"][*step] != *status);
    wrong
        .map(|(step, status)| {
            format!("step {step} is {}, not {status}", state["step_statuses"][step])
        })
        .collect()
}

/// Exactly the messages of the end that was reached, and of the steps on the way, each delivered once.
fn wrong_messages(template: &Template, scenario: &Scenario, record: &Record) -> Vec<String> {
    let end = record
        .of("complete_workflow")
        .next()
        .map(|event| text(event, "/data/target"))
        .unwrap_or_default();
    let of_end: Vec<String> = template
        .notifications
        .iter()
        .map(|entry| entry.trigger.clone())
        .filter(|t| *t == end)
        .collect();
    let steps = record.of("complete_step").map(|event| text(event, "/step_id")).filter(|step| {
        matches!(template.step(step).map(|step| &step.kind), Some(StepKind::Notification(_)))
    });
    let delivered: Vec<String> = steps.chain(of_end.clone()).collect();
    let mut problems = Vec::new();
    for (status, expected) in
        [("requested", of_end), ("delivered", delivered), ("failed", Vec::new())]
    {
        let found = record.triggers(status);
        if found != expected {
            problems.push(format!("messages {status}: {found:?}, not {expected:?}"));
        }
    }
    for (trigger, expected) in &scenario.told {
        let requested = record.of("notify").filter(|event| event["data"]["trigger"] == **trigger);
        let payload = requested.filter_map(|event| event["data"].get("payload")).last();
        problems.extend(lacking(
            &format!("told by {trigger}"),
            payload.map(|p| &p["data"]),
            expected,
        ));
    }
    problems
}

/// People are told of the first failure that the template wants told, and of no other.
fn wrong_escalations(template: &Template, record: &Record) -> Option<String> {
    let any = template.error_recovery.escalation.as_ref().is_some_and(|e| e.on_any_failure);
    let wanted = |step: &str| {
        let path = template.error_handling.get(step).is_some_and(|e| !e.escalation_path.is_empty());
        let rollback = template.step(step).is_some_and(
            |step| matches!(&step.kind, StepKind::AgentCall(call) if call.is_rollback),
        );
        any || path || rollback
    };
    let failed = record.of("fail_step").filter(|event| event["data"]["final"] == true);
    let expected: Vec<String> =
        failed.map(|event| text(event, "/step_id")).filter(|step| wanted(step)).take(1).collect();
    let told: Vec<String> = record.of("escalate").map(|event| text(event, "/step_id")).collect();
    (told != expected).then(|| format!("escalated: {told:?}, not {expected:?}"))
}

/// Each attempt is one call, under the key of its visit.
fn wrong_calls(
    agents: &Agents,
    template: &Template,
    scenario: &Scenario,
    driven: &Driven,
) -> Vec<String> {
    let calls: Vec<Call> = agents
        .calls()
        .into_iter()
        .filter(|call| call.command["workflow_id"] == *driven.id)
        .collect();
    let made: Vec<(String, u64)> =
        calls.iter().map(|call| (call.step().to_owned(), call.attempt())).collect();
    let expected = driven.record.attempts(template);
    let mut problems = Vec::new();
    if in_any_order(&made) != in_any_order(&expected) {
        problems.push(format!("agents were called for {made:?}, not {expected:?}"));
    }
    for call in &calls {
        let key = format!("{}/{}/{}", driven.id, call.step(), call.command["visit"]);
        if call.idempotency_key != key {
            problems.push(format!("key {} where {key} belongs", call.idempotency_key));
        }
    }
    for (step, expected) in &scenario.sent {
        let payload =
            calls.iter().rfind(|call| call.step() == step).map(|call| &call.command["payload"]);
        problems.extend(lacking(&format!("sent to {step}"), payload, expected));
    }
    problems
}

/// A question is asked once; more often only where the scenario lists answers that do not do.
fn wrong_questions(
    agents: &Agents,
    template: &Template,
    scenario: &Scenario,
    record: &Record,
) -> Vec<String> {
    let prompts = agents.prompts();
    let mut problems = Vec::new();
    for step in template.steps.keys() {
        let asked = prompts.iter().filter(|prompt| scenario.asks(step, prompt)).count();
        let expected = match scenario.model.get(step) {
            Some(answers) if scenario.counted.contains(step) => answers.len(),
            _ if prompt(template, step).is_some() => record.questions(step),
            _ => 0,
        };
        if asked != expected {
            problems
                .push(format!("the model was asked about {step} {asked} times, not {expected}"));
        }
    }
    problems
}

/// A replay of the record gives what the API says.
fn wrong_replay(template: &Template, driven: &Driven) -> Option<String> {
    let state =
        replay(State::new(WorkflowId::parse(&driven.id).unwrap()), &driven.record.decoded());
    let replayed = serde_json::to_value(state_response(template, &state)).unwrap();
    (replayed != driven.state)
        .then(|| format!("a replay gives {replayed:#}, the API {:#}", driven.state))
}

/// No lock is ever held twice at a time, and every hold ends.
pub(super) fn lock_overlaps<'r>(records: impl Iterator<Item = &'r Record>) -> Vec<String> {
    let mut by_lock: BTreeMap<String, Vec<Hold>> = BTreeMap::new();
    for hold in records.flat_map(Record::holds) {
        by_lock.entry(hold.lock.clone()).or_default().push(hold);
    }
    let mut problems = Vec::new();
    for (lock, mut holds) in by_lock {
        holds.sort_by_key(|hold| hold.fencing_number);
        for hold in holds.iter().filter(|hold| hold.to.is_none()) {
            problems.push(format!("{lock} was taken at {} and never given up", hold.from));
        }
        for pair in holds.windows(2) {
            let in_turn = pair[0].to.as_ref().is_some_and(|to| *to <= pair[1].from);
            if !in_turn || pair[0].fencing_number == pair[1].fencing_number {
                problems.push(format!("{lock} was held twice at {}", pair[1].from));
            }
        }
    }
    problems
}

/// What of `expected` is not in `found`; objects may hold more than is expected.
fn lacking(what: &str, found: Option<&Value>, expected: &Value) -> Option<String> {
    let holds = found.is_some_and(|found| covers(found, expected));
    (!holds).then(|| format!("{what}: {}, not {expected}", found.unwrap_or(&Value::Null)))
}

fn covers(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|found| covers(found, value))),
        _ => found == expected,
    }
}

/// Calls of steps that run side by side come in any order, those of the others do not.
fn in_any_order(calls: &[(String, u64)]) -> Vec<(String, u64)> {
    let mut calls = calls.to_vec();
    for side_by_side in calls.chunk_by_mut(|a, b| a.0.contains('.') && b.0.contains('.')) {
        side_by_side.sort();
    }
    calls
}

/// The same with what happened in branches between the other steps.
fn by_branch(trace: &[String]) -> Vec<String> {
    let inner = |line: &String| line.split(' ').next().is_some_and(|step| step.contains('.'));
    let mut trace = trace.to_vec();
    for side_by_side in trace.chunk_by_mut(|a, b| inner(a) && inner(b)) {
        side_by_side.sort();
    }
    trace
}
