//! Parents and children, in the transaction of the events that speak of them.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::{Map, Value};
use sluice_engine::{Cancel, ChildEnd, Input, MAX_CHAIN, Phase, State, WishedChild};
use sluice_proto::event::Status;
use sluice_proto::ids::WorkflowId;

use super::breakage::Breakage;
use super::intake::{Working, WorkingRun, workflow_id};
use super::world::World;

pub(crate) enum FamilyOp {
    Start { parent: usize, wish: WishedChild, context: Result<Map<String, Value>, String> },
    Leave { parent: usize, child: WorkflowId },
    Cancel { child: WorkflowId, force: bool },
    Tell { child: usize },
}

/// Step, visit and child that a run waits for.
pub(crate) type ChildWait = (usize, String, u32, WorkflowId);

impl World<'_> {
    /// Does what the batch wants done about parents and children, and what follows from it, until nothing
    /// does.
    pub(crate) fn settle_family(&mut self, who: usize, working: &mut Working) {
        while let Some(op) = working.family_ops.pop_front() {
            match op {
                FamilyOp::Start { parent, wish, context } => {
                    self.start_child(who, working, parent, &wish, context);
                }
                FamilyOp::Leave { parent, child } => self.leave_child(working, parent, child),
                FamilyOp::Cancel { child, force } => {
                    self.cancel_child(who, working, &child, force);
                }
                FamilyOp::Tell { child } => self.tell_parent(who, working, child),
            }
        }
    }

    fn start_child(
        &mut self,
        who: usize,
        working: &mut Working,
        parent: usize,
        wish: &WishedChild,
        context: Result<Map<String, Value>, String>,
    ) {
        let id = &wish.workflow_id;
        let position = working.runs[&parent].state.active.get(&wish.step);
        let waits =
            |phase: &Phase| matches!(phase, Phase::Child { workflow_id } if workflow_id == id);
        if !position.is_some_and(|position| waits(&position.phase)) {
            return;
        }
        if self.children.contains_key(id) {
            return self.checker.fail(format!("run-{parent} starts {id} twice"));
        }
        let wait = (parent, wish.step.clone(), wish.visit, id.clone());
        self.database.child_waits.insert(wait);
        let state = &working.runs[&parent].state;
        let known = state.children.iter().rev().find(|child| child.workflow_id == *id);
        let file = known.map(|child| child.template_name.clone()).unwrap_or_default();
        let prepared = self.template_of_child(parent, &file);
        match (prepared, context) {
            (Ok(template), Ok(context)) => {
                let run = self.runs.keys().last().map_or(0, |last| last + 1);
                self.runs.insert(run, template);
                self.children.insert(id.clone(), run);
                self.parents.insert(run, (parent, id.clone()));
                self.counts.count("children started");
                working.runs.insert(run, WorkingRun::new(Rc::new(State::new(workflow_id(run)))));
                let started = self.advance(working, run, Input::Start { context }, None);
                if let Err(refused) = started {
                    self.checker.fail(format!("{id} does not start: {refused:?}"));
                }
            }
            (Err((reason, error)), _) => {
                self.counts.count("children that could not be started");
                self.end_child(who, working, parent, id, ChildEnd::refused(reason, error));
            }
            (_, Err(error)) => {
                self.end_child(who, working, parent, id, ChildEnd::refused("context_error", error));
            }
        }
    }

    /// The template of that name, unless it is under way above or too many are.
    fn template_of_child(
        &self,
        parent: usize,
        file: &str,
    ) -> Result<usize, (&'static str, String)> {
        let found = self.scenery.templates.iter().position(|template| template.file == file);
        let template = found.ok_or_else(|| ("template_not_found", format!("no '{file}'")))?;
        let above = |run: &usize| self.parents.get(run).map(|(parent, _)| *parent);
        let line: Vec<usize> = std::iter::successors(Some(parent), above).collect();
        let templates: BTreeSet<usize> = line.iter().map(|run| self.runs[run]).collect();
        if templates.contains(&template) {
            return Err(("workflow_cycle", format!("'{file}' again")));
        }
        if line.len() >= MAX_CHAIN {
            return Err(("chain_too_deep", "too deep".to_owned()));
        }
        Ok(template)
    }

    fn leave_child(&mut self, working: &mut Working, parent: usize, child: WorkflowId) {
        self.database.child_waits.retain(|(.., waited)| *waited != child);
        let mut children = working.runs[&parent].state.children.iter();
        if children.any(|known| known.workflow_id == child && known.status == Status::Running) {
            working.family_ops.push_back(FamilyOp::Cancel { child, force: false });
        }
    }

    fn cancel_child(&mut self, who: usize, working: &mut Working, id: &WorkflowId, force: bool) {
        if self.breakage == Some(Breakage::ChildrenLeft) {
            return;
        }
        let Some(run) = self.children.get(id).copied() else { return };
        self.read_fresh(who, working, run);
        let (reason, cancelled_by) = ("its parent".to_owned(), "system".to_owned());
        let input = Input::Cancel(Cancel { reason, cancelled_by, force });
        if self.advance(working, run, input, None).is_ok() {
            self.counts.count("children cancelled");
        }
    }

    fn tell_parent(&mut self, who: usize, working: &mut Working, child: usize) {
        if self.breakage == Some(Breakage::ParentNotTold) {
            return;
        }
        let Some((parent, id)) = self.parents.get(&child).cloned() else { return };
        let end = ChildEnd::of(&working.runs[&child].state);
        self.end_child(who, working, parent, &id, end);
    }

    fn end_child(
        &mut self,
        who: usize,
        working: &mut Working,
        parent: usize,
        id: &WorkflowId,
        end: ChildEnd,
    ) {
        self.read_fresh(who, working, parent);
        let input = Input::ChildEnded { child: id.clone(), end: Box::new(end) };
        match self.advance(working, parent, input, None) {
            Ok(()) => self.counts.count("ends of children told"),
            // It ended, went on and ended the same way.
            Err(_) => self.counts.count("ends of children told twice"),
        }
    }

    /// Nobody waits for a child that is over, or goes on for a parent that is cancelled.
    pub(crate) fn check_family(&mut self) {
        let state = |id: &WorkflowId| {
            let run = self.children.get(id)?;
            self.database.runs.get(run).map(|row| Rc::clone(&row.state))
        };
        for (parent, step, _, id) in &self.database.child_waits {
            if state(id).is_none_or(|child| child.status.is_terminal()) {
                let what = format!("run-{parent} waits at '{step}' for {id}, which is over");
                return self.checker.fail(what);
            }
        }
        for (child, (parent, id)) in &self.parents {
            let (Some(own), Some(above)) =
                (self.database.runs.get(child), self.database.runs.get(parent))
            else {
                continue;
            };
            let known = above.state.children.iter().rev().find(|known| known.workflow_id == *id);
            let wanted = self.database.child_waits.iter().any(|(.., waited)| waited == id);
            let first_time = known.is_some_and(|known| known.status == Status::Running);
            let goes_on = !own.state.status.is_terminal() && own.state.cancellation.is_none();
            if first_time && goes_on && !wanted {
                let what = format!("{id} goes on, and run-{parent} does not wait for it");
                return self.checker.fail(what);
            }
        }
    }

    /// What a step leaves is what its child left.
    pub(crate) fn child_completed(
        &self,
        run: usize,
        step: &str,
        result: &Map<String, Value>,
    ) -> bool {
        let Some(row) = self.database.runs.get(&run) else { return false };
        let is_it = |child: &&sluice_engine::Child| {
            child.step.as_deref() == Some(step) && child.status == Status::Completed
        };
        let mut done = row.state.children.iter().filter(is_it);
        done.any(|child| {
            let own = self.children.get(&child.workflow_id);
            let own = own.and_then(|own| self.database.runs.get(own));
            own.is_some_and(|own| {
                own.state.status == Status::Completed && own.state.outputs.iter().eq(result.iter())
            })
        })
    }
}
