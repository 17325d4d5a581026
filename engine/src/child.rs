//! Runs that a run starts: how a step asks for one, and what the child's end makes of the step.
//!
//! The id of a child follows from the run, the step and its visit. So a start that is repeated starts
//! nothing, and a step that is entered anew, by a loop or by a person's retry, starts another child.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sluice_proto::event::{
    ChildWorkflowComplete, CompleteStep, EventBody, FailStep, StartChildWorkflow, Status,
};
use sluice_proto::ids::WorkflowId;
use sluice_proto::json;

use crate::decide::{MAX_ERROR_CHARS, Refused};
use crate::event::NewEvent;
use crate::route;
use crate::scope::RunScope;
use crate::state::{Phase, Position, State};
use crate::template::{ChildCall, StepKind, Template, slug};

/// Runs that may be above each other: a run, its parent, and so on up to the one that has none.
pub const MAX_CHAIN: usize = 20;
/// Children that one run may have.
pub const MAX_CHILDREN_PER_RUN: usize = 10_000;
/// Bytes of a child's outputs that its parent repeats; beyond, they are where the child left them.
const MAX_OUTPUT_BYTES: usize = 4 * 1024 * 1024;
/// Characters of the template's name in an id.
const MAX_SLUG_CHARS: usize = 40;

/// How a child has ended, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildEnd {
    /// Its status.
    pub status: Status,
    /// What its steps left.
    pub outputs: IndexMap<String, Value>,
    /// What the step of the parent fails with, unless the child is completed.
    pub error_type: String,
    /// The same, for people.
    pub error: String,
}

impl ChildEnd {
    /// The end of a child that has ended.
    #[must_use]
    pub fn of(child: &State) -> Self {
        let status = child.status;
        let place = child.failed_step.as_ref().map(|step| format!(" at step '{step}'"));
        let message = child.error_message.as_ref().map(|message| format!(": {message}"));
        Self {
            status,
            outputs: child.outputs.clone(),
            error_type: format!("child_{}", status.as_str()),
            error: format!(
                "its child {} ended as {}{}{}",
                child.workflow_id,
                status.as_str(),
                place.unwrap_or_default(),
                message.unwrap_or_default()
            ),
        }
    }

    /// There is no child, and will be none.
    #[must_use]
    pub fn refused(error_type: &str, error: String) -> Self {
        let outputs = IndexMap::new();
        Self { status: Status::Failed, outputs, error_type: error_type.to_owned(), error }
    }
}

/// Asks for a child; whoever writes the event starts it in the same breath.
pub(crate) fn begin(state: &State, path: &str, call: &ChildCall, position: &Position) -> NewEvent {
    let body = StartChildWorkflow {
        child_workflow_id: child_id(&state.workflow_id, path, position.visit, &call.template),
        template_name: call.template.clone(),
    };
    NewEvent::of(path, EventBody::StartChildWorkflow(body))
}

/// `<slug>-<16 hex digits>` of run, step and visit.
fn child_id(parent: &WorkflowId, path: &str, visit: u32, template: &str) -> WorkflowId {
    let digest = Sha256::digest(format!("{parent}:{path}:{visit}"));
    let suffix: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let token = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let slug: String = slug(template).chars().map(token).take(MAX_SLUG_CHARS).collect();
    WorkflowId::parse(&format!("{slug}-{suffix}"))
        .unwrap_or_else(|_| unreachable!("a slug of 40 and a suffix of 16 token characters"))
}

/// What the child at `path` reads as `context`.
///
/// # Errors
/// Names what cannot be stored as it is.
pub(crate) fn context(
    template: &Template,
    state: &State,
    path: &str,
) -> Result<Map<String, Value>, String> {
    let Some(StepKind::Workflow(call)) = template.step(path).map(|step| &step.kind) else {
        return Err(format!("step '{path}' starts no run"));
    };
    let mut context =
        RunScope::at(template, state, path).with(|roots| call.context.render(roots).value);
    json::normalise(&mut context).map_err(|error| error.to_string().replacen('$', "context", 1))?;
    match context {
        Value::Object(context) => Ok(context),
        _ => Err("context: must be a mapping".to_owned()),
    }
}

/// A run says that it is a child of this one, or a child that this one knows has ended.
pub(crate) fn adopted(
    state: &State,
    child: WorkflowId,
    template_name: String,
) -> Result<Vec<NewEvent>, Refused> {
    if state.sequence == 0 {
        return Err(Refused::NotOutstanding);
    }
    if state.cancellation.is_some() {
        return Err(Refused::NoParent("it is cancelled".to_owned()));
    }
    if state.children.len() >= MAX_CHILDREN_PER_RUN {
        let why = format!("it has {MAX_CHILDREN_PER_RUN} children already");
        return Err(Refused::NoParent(why));
    }
    let body = StartChildWorkflow { child_workflow_id: child, template_name };
    Ok(vec![NewEvent { step: None, body: EventBody::StartChildWorkflow(body) }])
}

/// The end of a child is recorded, and the step that waits for it goes on.
pub(crate) fn ended(
    template: &Template,
    state: &State,
    id: &WorkflowId,
    end: ChildEnd,
) -> Result<Vec<NewEvent>, Refused> {
    let child = state.children.iter().rev().find(|child| child.workflow_id == *id);
    // One that a person had go on after its end may end again, otherwise.
    let news = child.filter(|child| child.status != end.status);
    let Some(child) = news else { return Err(Refused::NotWaitingForChild) };
    let body = ChildWorkflowComplete {
        child_workflow_id: id.clone(),
        status: end.status,
        error: (end.status != Status::Completed).then(|| end.error.clone()),
    };
    let step = child.step.clone();
    let mut events =
        vec![NewEvent { step: step.clone(), body: EventBody::ChildWorkflowComplete(body) }];
    let waits = |position: &&Position| matches!(&position.phase, Phase::Child { workflow_id } if workflow_id == id);
    if let Some(path) = step
        && let Some(position) = state.active.get(&path).filter(waits)
    {
        events.push(settled(template, state, &path, position, id, end));
    }
    Ok(events)
}

fn settled(
    template: &Template,
    state: &State,
    path: &str,
    position: &Position,
    id: &WorkflowId,
    end: ChildEnd,
) -> NewEvent {
    let on_success = match template.step(path).map(|step| &step.kind) {
        Some(StepKind::Workflow(call)) => call.on_success.as_ref(),
        _ => None,
    };
    let scope = RunScope::at(template, state, path);
    if end.status == Status::Completed {
        let result = outputs(end.outputs);
        let next = route::to(template, &scope.answered(path, &result), path, on_success);
        let body = CompleteStep { result, next, ..CompleteStep::default() };
        return NewEvent::of(path, EventBody::CompleteStep(body));
    }
    let error: String = end.error.chars().take(MAX_ERROR_CHARS).collect();
    let result = Map::from_iter([
        ("workflow_id".to_owned(), json!(id)),
        ("workflow_status".to_owned(), json!(end.status)),
        ("outputs".to_owned(), Value::Object(outputs(end.outputs))),
    ]);
    let mut seen = result.clone();
    seen.insert("status".to_owned(), json!("error"));
    seen.insert("error".to_owned(), json!(error));
    seen.insert("error_type".to_owned(), json!(end.error_type));
    let next = route::after_failure(template, &scope.answered(path, &seen), path);
    let body = FailStep {
        error,
        error_type: end.error_type,
        attempt: position.attempt,
        is_final: true,
        next,
        result,
        ..FailStep::default()
    };
    NewEvent::of(path, EventBody::FailStep(body))
}

/// By step of the child; what does not fit is null.
fn outputs(outputs: IndexMap<String, Value>) -> Map<String, Value> {
    let mut budget = MAX_OUTPUT_BYTES;
    let fitting = |(step, output): (String, Value)| {
        let weight = serde_json::to_string(&output).map_or(usize::MAX, |text| text.len());
        let fits = weight <= budget;
        budget -= if fits { weight } else { 0 };
        (step, if fits { output } else { Value::Null })
    };
    outputs.into_iter().map(fitting).collect()
}
