//! Parents and children in the transaction of the events that speak of them.
//!
//! A child is started in the transaction in which its parent says so, and its end reaches the parent in the
//! transaction in which it ends: no crash can come between. The sweeper looks at the rows anyway.

use std::sync::Arc;

use serde_json::{Map, Value};
use sluice_engine::{Cancel, ChildEnd, Input, MAX_CHAIN, Phase, Refused, State, WishedChild};
use sluice_proto::event::Status;
use sluice_proto::ids::WorkflowId;
use sqlx::PgConnection;

use super::locks::has_moved_on;
use super::working::{Moment, Working};
use crate::coordinator::Shared;
use crate::library::Pinned;
use crate::store::{StoreError, child_waits, runs};

/// Something to be done about a parent or a child.
#[derive(Clone, Debug)]
pub(super) enum FamilyOp {
    /// Start a child.
    Start { parent: WorkflowId, wish: WishedChild, context: Result<Map<String, Value>, String> },
    /// Nobody waits for this child any more.
    Leave { parent: WorkflowId, child: WorkflowId },
    /// The child must not go on; counted in the cleanup of `root`.
    Cancel { parent: WorkflowId, child: WorkflowId, force: bool, root: WorkflowId },
    /// The child has ended.
    Tell { parent: WorkflowId, child: WorkflowId },
}

/// What the new state of a run means for its parent and its children, besides the effects. A cancellation
/// reaches all children that may be under way: one that had failed may have been made to go on.
pub(super) fn follow_up(
    state: &State,
    cancelled: Option<Cancel>,
    cancelled_for: Option<WorkflowId>,
    ends: bool,
) -> Vec<FamilyOp> {
    let own = &state.workflow_id;
    let mut ops = Vec::new();
    if let Some(cancel) = cancelled {
        let root = cancelled_for.unwrap_or_else(|| own.clone());
        let open = |status| matches!(status, Status::Running | Status::Failed);
        let children = state.children.iter().filter(|child| open(child.status));
        ops.extend(children.map(|child| FamilyOp::Cancel {
            parent: own.clone(),
            child: child.workflow_id.clone(),
            force: cancel.force,
            root: root.clone(),
        }));
    }
    if let Some(parent) = state.parent_workflow_id.clone().filter(|_| ends) {
        ops.push(FamilyOp::Tell { parent, child: own.clone() });
    }
    ops
}

/// Does what the batch wants done about parents and children, and what follows from it, until nothing does.
pub(super) async fn settle(
    shared: &Arc<Shared>,
    connection: &mut PgConnection,
    working: &mut Working,
    moment: Moment,
) -> Result<(), StoreError> {
    while let Some(op) = working.family_ops.pop_front() {
        match op {
            FamilyOp::Start { parent, wish, context } => {
                start(shared, connection, working, moment, &parent, &wish, context).await?;
            }
            FamilyOp::Leave { parent, child } => leave(connection, working, parent, child).await?,
            FamilyOp::Cancel { parent, child, force, root } => {
                cancel(shared, connection, working, moment, &parent, &child, force, &root).await?;
            }
            FamilyOp::Tell { parent, child } => {
                tell(shared, connection, working, moment, &parent, &child).await?;
            }
        }
    }
    Ok(())
}

async fn start(
    shared: &Arc<Shared>,
    connection: &mut PgConnection,
    working: &mut Working,
    moment: Moment,
    parent: &WorkflowId,
    wish: &WishedChild,
    context: Result<Map<String, Value>, String>,
) -> Result<(), StoreError> {
    let id = &wish.workflow_id;
    let state = working.runs.get(parent.as_str()).map(|run| &run.state);
    let position = state.and_then(|state| state.active.get(&wish.step));
    let waits = |phase: &Phase| matches!(phase, Phase::Child { workflow_id } if workflow_id == id);
    if !position.is_some_and(|position| waits(&position.phase)) {
        // What followed in this very batch has taken the wish back.
        return Ok(());
    }
    child_waits::insert(connection, parent.as_str(), &wish.step, wish.visit, id.as_str()).await?;
    if working.join(shared, connection, id).await? {
        let own = working.runs.get(id.as_str()).map(|run| &run.state);
        if own.is_some_and(|child| child.parent_workflow_id.as_ref() == Some(parent)) {
            return tell(shared, connection, working, moment, parent, id).await;
        }
        let error = format!("a run that is no child of this one has the id {id} already");
        let end = ChildEnd::refused("child_id_taken", error);
        return tell_end(shared, connection, working, moment, parent, id, end).await;
    }
    match prepare(shared, connection, working, parent, wish, context).await? {
        Ok((Pinned { template, text }, context)) => {
            working.breakers.load(connection, std::iter::once(&*template)).await?;
            working.add_new(id, template, text, Some(parent.clone()), moment);
            let input = Input::Start { context };
            // Nothing refuses the start of a run that was just made.
            let _ = working.advance(shared, id, input, None, moment)?;
            Ok(())
        }
        Err(end) => tell_end(shared, connection, working, moment, parent, id, end).await,
    }
}

type Prepared = (Pinned, Map<String, Value>);

/// What the child starts with, or why it cannot.
async fn prepare(
    shared: &Arc<Shared>,
    connection: &mut PgConnection,
    working: &Working,
    parent: &WorkflowId,
    wish: &WishedChild,
    context: Result<Map<String, Value>, String>,
) -> Result<Result<Prepared, ChildEnd>, StoreError> {
    let context = match context {
        Ok(context) => context,
        Err(error) => return Ok(Err(ChildEnd::refused("context_error", error))),
    };
    let run = working.runs.get(parent.as_str());
    let child = run.and_then(|run| {
        let known = |child: &&sluice_engine::Child| child.workflow_id == wish.workflow_id;
        run.state.children.iter().rev().find(known)
    });
    let name = child.map(|child| child.template_name.clone()).unwrap_or_default();
    let pinned = match shared.library.find(&name) {
        Ok(pinned) => pinned,
        Err(error) => {
            let code = serde_json::to_value(error.code).unwrap_or_default();
            let code = code.as_str().unwrap_or("template_not_found");
            return Ok(Err(ChildEnd::refused(code, error.detail)));
        }
    };
    let line = lineage(connection, working, parent).await?;
    if line.contains(&pinned.template.file) {
        let way = line.iter().rev().map(String::as_str).collect::<Vec<_>>().join(" → ");
        let error = format!("it would start itself again: {way} → {}", pinned.template.file);
        return Ok(Err(ChildEnd::refused("workflow_cycle", error)));
    }
    if line.len() >= MAX_CHAIN {
        let error = format!("there are {MAX_CHAIN} runs above each other already");
        return Ok(Err(ChildEnd::refused("chain_too_deep", error)));
    }
    Ok(Ok((pinned, context)))
}

/// Templates of a run and of those above it, its own first; those that the batch has made are not yet stored.
async fn lineage(
    connection: &mut PgConnection,
    working: &Working,
    id: &WorkflowId,
) -> Result<Vec<String>, StoreError> {
    let mut line = Vec::new();
    let mut next = Some(id.clone());
    while let Some(id) = next.take_if(|_| line.len() < MAX_CHAIN) {
        let Some(run) = working.runs.get(id.as_str()) else {
            line.extend(runs::lineage(connection, id.as_str(), MAX_CHAIN - line.len()).await?);
            break;
        };
        line.push(run.template.file.clone());
        next = run.state.parent_workflow_id.clone();
    }
    Ok(line)
}

async fn leave(
    connection: &mut PgConnection,
    working: &mut Working,
    parent: WorkflowId,
    child: WorkflowId,
) -> Result<(), StoreError> {
    child_waits::delete(connection, child.as_str()).await?;
    let state = working.runs.get(parent.as_str()).map(|run| &run.state);
    let mut children = state.iter().flat_map(|state| &state.children);
    if children.any(|known| known.workflow_id == child && known.status == Status::Running) {
        let root = parent.clone();
        working.family_ops.push_back(FamilyOp::Cancel { parent, child, force: false, root });
    }
    Ok(())
}

/// Cancels a child, and says in the cleanup of `root` what came of it. Whatever does: the parent is
/// cancelled all the same.
#[expect(clippy::too_many_arguments, reason = "one straight story")]
async fn cancel(
    shared: &Arc<Shared>,
    connection: &mut PgConnection,
    working: &mut Working,
    moment: Moment,
    parent: &WorkflowId,
    child: &WorkflowId,
    force: bool,
    root: &WorkflowId,
) -> Result<(), StoreError> {
    let outcome = match working.join(shared, connection, child).await {
        Ok(true) => {
            let cancel = wish_of(working, parent, force);
            working.cancelled_for = Some(root.clone());
            let outcome = working.advance(shared, child, Input::Cancel(cancel), None, moment)?;
            working.cancelled_for = None;
            outcome.map_err(|refused| (!is_no_news(&refused)).then(|| refused.to_string()))
        }
        Ok(false) => {
            let end = ChildEnd {
                status: Status::Cancelled,
                ..ChildEnd::refused("child_cancelled", "it was never started".to_owned())
            };
            return tell_end(shared, connection, working, moment, parent, child, end).await;
        }
        Err(error @ StoreError::Unreadable { .. }) => Err(Some(error.to_string())),
        Err(error) => return Err(error),
    };
    let Some(cleanup) = working.cleanups.get_mut(root.as_str()) else { return Ok(()) };
    match outcome {
        Ok(()) => cleanup.child_workflows_cancelled += 1,
        Err(Some(error)) => cleanup.errors.push(format!("child {child}: {error}")),
        Err(None) => {}
    }
    Ok(())
}

fn is_no_news(refused: &Refused) -> bool {
    matches!(refused, Refused::Ended(_) | Refused::BeingCancelled)
}

/// Why a child is cancelled.
fn wish_of(working: &Working, parent: &WorkflowId, force: bool) -> Cancel {
    let state = working.runs.get(parent.as_str()).map(|run| &run.state);
    let (reason, cancelled_by) = match state.and_then(|state| state.cancellation.as_ref()) {
        Some(own) if own.reason.is_empty() => {
            (format!("its parent {parent} was cancelled"), own.cancelled_by.clone())
        }
        Some(own) => {
            let reason = format!("its parent {parent} was cancelled: {}", own.reason);
            (reason, own.cancelled_by.clone())
        }
        None => (format!("its parent {parent} waits for it no longer"), "system".to_owned()),
    };
    Cancel { reason, cancelled_by, force }
}

async fn tell(
    shared: &Arc<Shared>,
    connection: &mut PgConnection,
    working: &mut Working,
    moment: Moment,
    parent: &WorkflowId,
    child: &WorkflowId,
) -> Result<(), StoreError> {
    let is_there = working.join(shared, connection, child).await?;
    let end = match working.runs.get(child.as_str()).filter(|_| is_there) {
        Some(run) if run.state.status.is_terminal() => ChildEnd::of(&run.state),
        Some(_) => return Ok(()),
        None => ChildEnd::refused("child_lost", format!("its child {child} is not there")),
    };
    tell_end(shared, connection, working, moment, parent, child, end).await
}

async fn tell_end(
    shared: &Arc<Shared>,
    connection: &mut PgConnection,
    working: &mut Working,
    moment: Moment,
    parent: &WorkflowId,
    child: &WorkflowId,
    end: ChildEnd,
) -> Result<(), StoreError> {
    if !working.join(shared, connection, parent).await? {
        return child_waits::delete(connection, child.as_str()).await;
    }
    let input = Input::ChildEnded { child: child.clone(), end: Box::new(end) };
    if working.advance(shared, parent, input, None, moment)?.is_err() {
        if has_moved_on(connection, working, parent).await? {
            return Err(StoreError::Conflict);
        }
        // It knows already: nothing is waited for.
        child_waits::delete(connection, child.as_str()).await?;
    }
    Ok(())
}
