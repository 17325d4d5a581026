//! Branches side by side: how they begin, and what becomes of the step whose branches they are.

use serde_json::{Map, Value, json};
use sluice_proto::event::{BranchStart, CompleteStep, EventBody, FailStep, Next, StartBranches};
use sluice_proto::json;

use crate::event::NewEvent;
use crate::plan::fail;
use crate::route;
use crate::scope::RunScope;
use crate::state::{Branch, BranchStatus, FanRecord, Phase, Position, State};
use crate::template::{Fan, FanSource, Join, MAX_BRANCHES, StepKind, Template};

/// Branches that one run may have, of all its steps together.
pub const MAX_BRANCHES_PER_RUN: u32 = 10_000;
/// Bytes of outputs that the result of a step repeats; beyond, they are where their steps left them.
const MAX_RESULT_BYTES: usize = 4 * 1024 * 1024;
/// Failed branches that an error message names.
const MAX_NAMED: usize = 3;

/// Begins the first branches, or fails when it cannot be said which there are.
pub(crate) fn open(
    template: &Template,
    state: &State,
    path: &str,
    fan: &Fan,
    position: &Position,
) -> NewEvent {
    let failed = |kind: &str, error: String| {
        let next = route::after_failure(template, &RunScope::at(template, state, path), path);
        fail(path, kind, error, position.attempt, next)
    };
    let (items, total) = match &fan.source {
        FanSource::Branches(branches) => (None, branches.len()),
        FanSource::Items { items, .. } => {
            let scope = RunScope::at(template, state, path);
            let mut items = scope.with(|roots| items.render(roots)).value;
            if let Err(error) = json::normalise(&mut items) {
                return failed("items_error", error.to_string().replacen('$', "items", 1));
            }
            match items {
                Value::Array(items) => {
                    let total = items.len();
                    (Some(items), total)
                }
                other => {
                    let found = kind_of(&other);
                    return failed("items_error", format!("'items' is {found}, not a list"));
                }
            }
        }
    };
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    if total > MAX_BRANCHES {
        let error = format!("'items' has {total} items, more than {MAX_BRANCHES}");
        return failed("items_error", error);
    }
    if state.branches_had.saturating_add(total) > MAX_BRANCHES_PER_RUN {
        let error = format!("the run would have more than {MAX_BRANCHES_PER_RUN} branches");
        return failed("branch_limit", error);
    }
    let record = FanRecord { total, items, ..FanRecord::default() };
    let body = StartBranches {
        branches: next_branches(template, state, path, fan, &record),
        total: Some(total),
        items: record.items,
    };
    NewEvent::of(path, EventBody::StartBranches(body))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// What follows for the first step with branches for which anything does: it is complete, it has failed,
/// or more of them begin.
pub(crate) fn proceed(template: &Template, state: &State) -> Option<NewEvent> {
    state.active.iter().find_map(|(path, position)| {
        if !matches!(position.phase, Phase::Branches) {
            return None;
        }
        let Some(StepKind::Fan(fan)) = template.step(path).map(|step| &step.kind) else {
            return None;
        };
        join(template, state, path, fan, state.fans.get(path)?)
    })
}

fn join(
    template: &Template,
    state: &State,
    path: &str,
    fan: &Fan,
    record: &FanRecord,
) -> Option<NewEvent> {
    let count = |status| {
        let found = record.branches.values().filter(|branch| branch.status == status).count();
        u32::try_from(found).unwrap_or(u32::MAX)
    };
    let (succeeded, failed) = (count(BranchStatus::Succeeded), count(BranchStatus::Failed));
    let needed = match fan.join {
        Join::All => record.total,
        Join::Count(needed) => needed,
    };
    if succeeded >= needed {
        return Some(complete(template, state, path, fan, record));
    }
    let can_be_met = record.total.saturating_sub(failed) >= needed;
    let all_ended = succeeded + failed == record.total;
    let never_could = needed > record.total;
    if !can_be_met && (fan.fail_fast || all_ended || never_could) {
        return Some(failure(template, state, path, record, needed));
    }
    let branches = next_branches(template, state, path, fan, record);
    let body = StartBranches { branches, ..StartBranches::default() };
    let any = !body.branches.is_empty();
    any.then(|| NewEvent::of(path, EventBody::StartBranches(body)))
}

/// The branches that may begin now.
fn next_branches(
    template: &Template,
    state: &State,
    path: &str,
    fan: &Fan,
    record: &FanRecord,
) -> Vec<BranchStart> {
    let begun = record.branches.len();
    let running = |branch: &&Branch| branch.status == BranchStatus::Running;
    let under_way = record.branches.values().filter(running).count();
    match &fan.source {
        FanSource::Branches(branches) => {
            let rest = branches.keys().skip(begun);
            rest.filter_map(|name| begin(template, state, path, name, None)).collect()
        }
        FanSource::Items { max_concurrent, .. } => {
            let most = max_concurrent.map_or(usize::MAX, |most| most as usize);
            let items = record.items.iter().flatten().enumerate().skip(begun);
            items
                .take(most.saturating_sub(under_way))
                .filter_map(|(index, item)| {
                    begin(template, state, path, &index.to_string(), Some((item, index)))
                })
                .collect()
        }
    }
}

fn begin(
    template: &Template,
    state: &State,
    path: &str,
    branch: &str,
    item: Option<(&Value, usize)>,
) -> Option<BranchStart> {
    let (first, _) = template.step(path)?.block(branch)?.first()?;
    let first = format!("{path}.{branch}.{first}");
    let scope = RunScope::at(template, state, &first);
    let scope = match item {
        Some((item, index)) => scope.of_item(item, index),
        None => scope,
    };
    let next_lock = route::lock_name(template, &scope, &first);
    let next = Next { next_lock, outcome: None, next_step: Some(first.clone()) };
    Some(BranchStart { branch: branch.to_owned(), next })
}

fn complete(
    template: &Template,
    state: &State,
    path: &str,
    fan: &Fan,
    record: &FanRecord,
) -> NewEvent {
    let result = result(template, state, path, record);
    let scope = RunScope::at(template, state, path).answered(path, &result);
    let next = route::to(template, &scope, path, fan.on_success.as_ref());
    let body = CompleteStep { result, next, ..CompleteStep::default() };
    NewEvent::of(path, EventBody::CompleteStep(body))
}

fn failure(
    template: &Template,
    state: &State,
    path: &str,
    record: &FanRecord,
    needed: u32,
) -> NewEvent {
    let error = why(path, record, needed);
    let mut result = result(template, state, path, record);
    let error_type = "branch_failed".to_owned();
    result.insert("status".to_owned(), json!("error"));
    result.insert("error".to_owned(), json!(error));
    result.insert("error_type".to_owned(), json!(error_type));
    let scope = RunScope::at(template, state, path).answered(path, &result);
    let next = route::after_failure(template, &scope, path);
    let body = FailStep {
        error,
        error_type,
        attempt: 1,
        is_final: true,
        next,
        result,
        ..FailStep::default()
    };
    NewEvent::of(path, EventBody::FailStep(body))
}

fn why(path: &str, record: &FanRecord, needed: u32) -> String {
    let total = record.total;
    if needed > total {
        return format!("{needed} branches must end well, and there are {total}");
    }
    let failed = record.branches.iter().filter(|(_, b)| b.status == BranchStatus::Failed);
    let told = |(name, branch): (&String, &Branch)| match &branch.failure {
        Some(failure) => format!("{}: {}", failure.step, failure.error),
        None => format!("{path}.{name} ended as failed"),
    };
    let named: Vec<String> = failed.clone().take(MAX_NAMED).map(told).collect();
    let more = match failed.count().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let text = format!("{needed} of {total} branches must end well; {}{more}", named.join("; "));
    text.chars().take(crate::decide::MAX_ERROR_CHARS).collect()
}

/// What the step leaves in `outputs`: how each branch ended, and the output of its last step.
fn result(
    template: &Template,
    state: &State,
    path: &str,
    record: &FanRecord,
) -> Map<String, Value> {
    let names = |status| -> Vec<Value> {
        let with = record.branches.iter().filter(|(_, branch)| branch.status == status);
        with.map(|(name, _)| named(record, name)).collect()
    };
    let mut budget = MAX_RESULT_BYTES;
    let mut told = |name: &str| branch_result(state, record.branches.get(name), &mut budget);
    let mut result = Map::new();
    if let Some(StepKind::Fan(fan)) = template.step(path).map(|step| &step.kind) {
        match &fan.source {
            FanSource::Branches(branches) => {
                let branches = branches.keys().map(|name| (name.clone(), told(name))).collect();
                result.insert("branches".to_owned(), Value::Object(branches));
            }
            FanSource::Items { .. } => {
                let items = (0..record.total).map(|index| told(&index.to_string())).collect();
                result.insert("items".to_owned(), Value::Array(items));
            }
        }
    }
    result.insert("succeeded".to_owned(), Value::Array(names(BranchStatus::Succeeded)));
    result.insert("failed".to_owned(), Value::Array(names(BranchStatus::Failed)));
    result
}

/// Items go by number, branches by name.
fn named(record: &FanRecord, name: &str) -> Value {
    let index = name.parse::<u32>().ok().filter(|_| record.items.is_some());
    index.map_or_else(|| json!(name), |index| json!(index))
}

fn branch_result(state: &State, branch: Option<&Branch>, budget: &mut usize) -> Value {
    let Some(branch) = branch else { return json!({"status": "skipped"}) };
    // Whatever is under way is stopped by this very result.
    let status = match branch.status {
        BranchStatus::Succeeded => "succeeded",
        BranchStatus::Failed => "failed",
        BranchStatus::Running | BranchStatus::Stopped => "stopped",
    };
    let mut told = Map::from_iter([("status".to_owned(), json!(status))]);
    if let Some(output) = branch.last_step.as_ref().and_then(|step| state.outputs.get(step)) {
        let weight = serde_json::to_string(output).map_or(usize::MAX, |text| text.len());
        let fits = weight <= *budget;
        *budget -= if fits { weight } else { 0 };
        told.insert("output".to_owned(), if fits { output.clone() } else { Value::Null });
    }
    if let Some(failure) = branch.failure.as_ref().filter(|_| status == "failed") {
        told.insert("failed_step".to_owned(), json!(failure.step));
        told.insert("error".to_owned(), json!(failure.error));
        told.insert("error_type".to_owned(), json!(failure.error_type));
    }
    Value::Object(told)
}
